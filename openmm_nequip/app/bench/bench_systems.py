"""Systems to measure on, made from nothing but the model's elements: a peptide, water, a rattled lattice."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...data import shipped_damage
from ...errors import StructureError
from ...units import NM_PER_ANGSTROM

PEPTIDE = "alanine-dipeptide.pdb"
PEPTIDE_ATOMS = 22
TEMPERATURE_K = 300.0
WATER_G_PER_CM3 = 0.997  #: at 298 K and 1 bar
WATER_G_PER_MOL = 18.015
#: Fewer molecules make a cluster without a box: a box of a few would be smaller than a molecule's own surroundings.
FEWEST_PERIODIC_WATERS = 8
#: Nearest neighbours of the lattice in sums of covalent radii, and displacements as a share of that distance.
LATTICE_STRETCH = 1.1
LATTICE_RATTLE = 0.02
_MOST_ELONGATED = 2
_SEED = 1


@dataclass(frozen=True, eq=False)
class BenchSystem:
    """One system to measure on.

    Parameters
    ----------
    title : str
        What was built.
    topology : openmm.app.Topology
        Elements, bonds and, if periodic, the box.
    positions_nm : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm; None where nothing is periodic.
    """

    title: str
    topology: app.Topology
    positions_nm: np.ndarray
    box_nm: np.ndarray | None

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.positions_nm)

    @functools.cached_property
    def symbols(self) -> list[str]:
        """Element symbol of each atom."""
        return [atom.element.symbol for atom in self.topology.atoms()]

    @functools.cached_property
    def masses(self) -> np.ndarray:
        """Masses (n_atoms,) in g/mol."""
        return np.array([atom.element.mass.value_in_unit(unit.dalton) for atom in self.topology.atoms()])

    @functools.cached_property
    def velocities(self) -> np.ndarray:
        """Velocities (n_atoms, 3) in nm/ps of a Maxwell distribution at :data:`TEMPERATURE_K`; always the same."""
        gas_constant = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
        width = np.sqrt(gas_constant * TEMPERATURE_K / self.masses)[:, None]
        return np.random.default_rng(_SEED).normal(size=(self.n_atoms, 3)) * width

    def temperature(self, velocities: np.ndarray) -> float:
        """Temperature in K of velocities (n_atoms, 3) in nm/ps."""
        gas_constant = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
        return float((self.masses[:, None] * velocities**2).sum() / (3 * self.n_atoms * gas_constant))


def build_system(type_names: Sequence[str], size: int) -> BenchSystem:
    """A system of about ``size`` atoms whose elements the model knows.

    The peptide for 22 atoms of a model of H, C, N and O; water for other sizes of a model of H and O; else a lattice
    of all the model's elements.

    Parameters
    ----------
    type_names : sequence of str
        The model's types.
    size : int
        Wanted number of atoms.

    Returns
    -------
    BenchSystem

    Raises
    ------
    ValueError
        If a lattice is needed and a type is no element symbol.
    """
    if size == PEPTIDE_ATOMS and {"H", "C", "N", "O"} <= set(type_names):
        return peptide()
    if {"H", "O"} <= set(type_names):
        return water(max(1, round(size / 3)))
    return lattice(type_names, size)


def peptide() -> BenchSystem:
    """The shipped alanine dipeptide, 22 atoms in vacuum.

    Raises
    ------
    StructureError
        If its file is not as it was shipped.
    """
    with as_file(files("openmm_nequip.data") / PEPTIDE) as path:
        damage = shipped_damage(str(path))
        if damage:
            raise StructureError(f"structure file {path} {damage}", str(path))
        pdb = app.PDBFile(str(path))
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer), dtype=np.float64)
    return BenchSystem("alanine dipeptide in vacuum", pdb.topology, positions, None)


def water(count: int) -> BenchSystem:
    """Liquid water: OpenMM's equilibrated box, cut out, brought to 0.997 g/cm3 and relaxed with TIP3P.

    Parameters
    ----------
    count : int
        Number of molecules, >= 1; fewer than :data:`FEWEST_PERIODIC_WATERS` make a cluster without a box.
    """
    mass = count * WATER_G_PER_MOL * unit.gram / unit.mole / unit.AVOGADRO_CONSTANT_NA
    volume = mass / (WATER_G_PER_CM3 * unit.gram / unit.centimeter**3)
    side = volume.value_in_unit(unit.nanometer**3) ** (1 / 3)
    forcefield = app.ForceField("amber14/tip3p.xml")
    # Molecules that clash across the edge of the box are left out, so a box of the right size has too few.
    for larger in itertools.count():
        edge = max(side, 0.5) * 1.01**larger
        modeller = app.Modeller(app.Topology(), [])
        modeller.addSolvent(forcefield, boxSize=openmm.Vec3(edge, edge, edge) * unit.nanometer)
        residues = list(modeller.topology.residues())
        if len(residues) >= count:
            break
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer), dtype=np.float64).reshape(-1, 3, 3)
    oxygens = positions[:, :1]
    order = np.argsort(np.linalg.norm(oxygens[:, 0] - edge / 2, axis=1), kind="stable")
    kept = np.sort(order[:count])
    modeller.delete([residues[i] for i in order[count:].tolist()])
    periodic = count >= FEWEST_PERIODIC_WATERS
    scaled = oxygens * (side / edge) if periodic else oxygens
    moved = (scaled + positions - oxygens)[kept].reshape(-1, 3)
    box = np.eye(3) * side if periodic else None
    _set_box(modeller.topology, box)
    place = f"periodic, {WATER_G_PER_CM3} g/cm3" if periodic else "a cluster"
    title = f"{count} water molecule{'s' * (count != 1)}, {place}"
    return BenchSystem(title, modeller.topology, _relaxed(forcefield, modeller.topology, moved, box), box)


def _relaxed(
    forcefield: app.ForceField, topology: app.Topology, positions: np.ndarray, box: np.ndarray | None
) -> np.ndarray:
    """Positions (n, 3) in nm after a short minimisation with flexible TIP3P."""
    system = forcefield.createSystem(
        topology,
        nonbondedMethod=app.NoCutoff if box is None else app.CutoffPeriodic,
        nonbondedCutoff=0.9 if box is None else min(0.9, 0.49 * float(box[0, 0])),
        constraints=None,
        rigidWater=False,
    )
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    found = context.getState(positions=True).getPositions(asNumpy=True)
    return np.array(found.value_in_unit(unit.nanometer), dtype=np.float64)


def lattice(type_names: Sequence[str], size: int) -> BenchSystem:
    """A rattled simple cubic lattice of all the model's elements in turn, periodic.

    Parameters
    ----------
    type_names : sequence of str
        The model's types, which must be element symbols.
    size : int
        Wanted number of atoms.

    Raises
    ------
    ValueError
        If a type is no element symbol.
    """
    from ase.data import atomic_numbers, covalent_radii

    foreign = [name for name in type_names if name not in atomic_numbers or name == "X"]
    if foreign:
        raise ValueError(
            f"the model's types {', '.join(foreign)} are no element symbols, and the benchmark builds its systems from "
            "elements; measure with a model whose types are element symbols"
        )
    radius = max(covalent_radii[atomic_numbers[name]] for name in type_names) * NM_PER_ANGSTROM
    spacing = 2 * LATTICE_STRETCH * float(radius)
    edges = _near_cube(size)
    axes = [np.arange(edge) * spacing for edge in edges]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    generator = np.random.default_rng(_SEED)
    positions = grid + generator.normal(0, LATTICE_RATTLE * spacing, grid.shape)
    symbols = generator.permutation([type_names[i % len(type_names)] for i in range(len(grid))])
    topology = app.Topology()
    chain = topology.addChain()
    for symbol in symbols.tolist():
        topology.addAtom(symbol, app.Element.getBySymbol(symbol), topology.addResidue(symbol, chain))
    box = np.diag(np.array(edges) * spacing)
    _set_box(topology, box)
    shape = " x ".join(map(str, edges))
    title = f"rattled cubic lattice of {', '.join(type_names)}, {shape}, spacing {spacing:.3f} nm, periodic"
    return BenchSystem(title, topology, positions, box)


def _near_cube(size: int) -> tuple[int, int, int]:
    """Edges of a block, none more than twice another, whose number of sites is nearest to ``size``."""
    top = math.ceil(size ** (1 / 3)) * _MOST_ELONGATED
    blocks = [
        (a, b, c)
        for a in range(1, top + 1)
        for b in range(a, min(top, _MOST_ELONGATED * a) + 1)
        for c in range(b, min(top, _MOST_ELONGATED * a) + 1)
    ]
    return min(blocks, key=lambda block: (abs(math.prod(block) - size), block[2] - block[0]))


def _set_box(topology: app.Topology, box: np.ndarray | None) -> None:
    vectors = None if box is None else [openmm.Vec3(*row) for row in box.tolist()] * unit.nanometer
    topology.setPeriodicBoxVectors(vectors)
