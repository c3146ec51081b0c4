"""Hybrid runs: a force field for everything, from OpenMM's own files or Amber's or GROMACS', and the model on top."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...files import obstacle, parser_reason
from ...hybrid.bond_search import find_bonds
from ...hybrid.builder import MixedSystem
from ...potential import create_mixed_system
from ...units import NM_PER_ANGSTROM
from ..single_point import read_types
from ..structures.bonds import Molecules, find_molecules, make_whole, nearest_images
from ..structures.gromacs_topology import macros, read_topology
from ..structures.same_atoms import check_bond_lengths, check_same_atoms
from ..structures.structure_files import Structure, read_structure
from ..typed_inputs import read_inputs
from .density import relax_density
from .gromacs_system import gromacs_system, restrain
from .nonbonded_settings import creation_settings, finish_system
from .run_config import RunConfig, option_name

logger = logging.getLogger(__name__)

#: Settings that describe a force field, and mean nothing without one.
_FORCE_FIELD_SETTINGS = (
    "solvate", "define", "include", "restraint_reference", "cutoff", "switch", "dispersion_correction", "dielectric",
    "ewald_alpha", "pme_spacing", "com_interval", "link_distance",
)  # fmt: skip


def is_hybrid(config: RunConfig) -> bool:
    """Whether a force field takes part in a run.

    Raises
    ------
    ValueError
        If only some of the settings of a hybrid run are there.
    """
    sources = [name for name in ("forcefield", "topology") if getattr(config, name) is not None]
    if config.ml_atoms is None:
        extra = sources + [name for name in _FORCE_FIELD_SETTINGS if getattr(config, name) is not None]
        if extra:
            raise ValueError(
                f"--{option_name(extra[0])} describes the force field of a hybrid run: say with --ml-atoms which "
                "atoms the model describes (mdtraj selection text, e.g. 'resname ALA')"
            )
        return False
    if len(sources) != 1:
        raise ValueError(
            "--ml-atoms needs a force field for the other atoms: give --forcefield FILES (OpenMM's, e.g. "
            "amber14-all.xml amber14/tip3p.xml) or --topology FILE (Amber prmtop, GROMACS top), one of the two"
        )
    if config.topology is not None and config.solvate is not None:
        raise ValueError("--solvate works with --forcefield; a --topology file already has its solvent")
    return True


def read_hybrid_structure(config: RunConfig) -> Structure:
    """The structure file; an Amber coordinate file takes its atoms from the prmtop.

    Raises
    ------
    ValueError
        If a file is missing or cannot be read.
    """
    structure = _read_hybrid_structure(config)
    if config.periodic:
        return structure
    structure.topology.setPeriodicBoxVectors(None)
    return replace(structure, box_nm=None)


def _read_hybrid_structure(config: RunConfig) -> Structure:
    path = config.structure or ""
    if Path(path).suffix.lower() not in (".inpcrd", ".rst7", ".crd"):
        # A topology file has the elements and the bonds; what the structure's names say of them does not matter.
        structure = read_structure(path, config.box, config.frame, elements=config.topology is None)
        return structure.for_dynamics("file")[0]
    if config.topology is None:
        raise ValueError(f"structure file {path} holds coordinates alone: give its prmtop with --topology")
    for file in (path, config.topology):
        reason = obstacle(file)
        if reason:
            raise ValueError(f"{file} {reason}")
    try:
        coordinates = app.AmberInpcrdFile(path)
        topology = app.AmberPrmtopFile(config.topology).topology
    except Exception as error:  # the readers raise anything on a foreign file
        raise ValueError(f"{path} and {config.topology} cannot be read: {parser_reason(error)}") from error
    vectors = coordinates.getBoxVectors()
    box = None if vectors is None else np.array([row.value_in_unit(unit.nanometer) for row in vectors])
    positions = np.array(coordinates.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    if len(positions) != topology.getNumAtoms():
        raise ValueError(
            f"topology file {config.topology} has {topology.getNumAtoms()} atoms, structure file {path} has "
            f"{len(positions)}; give files that belong together"
        )
    return Structure(path, topology, positions, box).for_dynamics("file")[0]


def model_options(config: RunConfig) -> dict[str, Any]:
    """How a run's settings say what :class:`openmm_nequip.options.Options` takes, for whole and hybrid Systems."""
    return {
        "lengthUnit": config.length_unit,
        "energyUnit": config.energy_unit,
        "atomTypes": read_types(config.types),
        "backend": config.backend,
        "committeeBias": config.committee_bias,
        "compile": config.compile,
        "kernels": config.kernels,
        "tables": config.tables,
        "modelInputs": read_inputs(config.input),
        "modifiers": config.modifiers,
        "cudaGraphs": {"auto": "auto", "on": True, "off": False}[config.cuda_graphs],
        "device": config.device,
        "removeReferenceEnergy": config.remove_reference_energy,
        "maxNeighbors": config.max_neighbors,
        "coulombCutoff": None if config.coulomb_cutoff is None else config.coulomb_cutoff * NM_PER_ANGSTROM,
    }


def make_hybrid(config: RunConfig, structure: Structure) -> tuple[Structure, openmm.System]:
    """The structure with its solvent, and its System with the model on the chosen atoms.

    Parameters
    ----------
    config : RunConfig
        Settings; :func:`is_hybrid` holds.
    structure : Structure
        What was read, before anything was added.

    Returns
    -------
    structure : Structure
        All atoms; reduced box.
    system : openmm.System
        The mixed System.

    Raises
    ------
    ValueError
        If the force field does not know the structure, or for a bad selection, rule or element.
    """
    structure, system = force_field_of(config, structure)
    return structure, mix(config, structure, system).system


def force_field_of(config: RunConfig, structure: Structure) -> tuple[Structure, openmm.System]:
    """The structure with its solvent, and all of it under the force field; parameters and errors as
    :func:`make_hybrid`."""
    if config.topology is not None:
        return _from_topology(config, structure)
    return _from_forcefield(config, structure)


def mix(config: RunConfig, structure: Structure, system: openmm.System) -> MixedSystem:
    """Let the model describe the chosen atoms.

    Parameters
    ----------
    config : RunConfig
        Settings.
    structure : Structure
        All atoms.
    system : openmm.System
        The force field's; left as it is.

    Returns
    -------
    MixedSystem

    Raises
    ------
    ValueError
        For a bad selection, rule or element.
    """
    mixed = create_mixed_system(
        structure.topology,
        system,
        config.ml_atoms,
        config.declared_model,
        rule=config.rule,
        positions=structure.positions_nm * unit.nanometer,
        trusted=config.trusted,
        removeConstraints={"rule": None, "keep": False, "remove": True}[config.region_constraints],
        linkElement=config.link_element,
        linkDistance=config.link_distance,
        **model_options(config),
    )
    atoms = sum(len(region.atoms) for region in mixed.regions)
    links = sum(len(region.links) for region in mixed.regions)
    logger.info("the model describes %d of %d atoms, %d cut bonds", atoms, len(structure.positions_nm), links)
    return mixed


def force_field_system(config: RunConfig, structure: Structure) -> openmm.System:
    """The System of OpenMM's force-field files alone.

    Parameters
    ----------
    config : RunConfig
        Settings.
    structure : Structure
        All atoms, the solvent included.

    Returns
    -------
    openmm.System
    """
    forcefield = app.ForceField(*(config.forcefield or ()))
    return _created(config, forcefield.createSystem, structure.topology, structure.box_nm)


def _created(config: RunConfig, create: Any, topology: app.Topology, box: np.ndarray | None) -> openmm.System:
    """What a force field makes of a topology with the settings of a run."""
    system = create(topology, **creation_settings(config, box))
    finish_system(config, system, box)
    return system


def _from_forcefield(config: RunConfig, structure: Structure) -> tuple[Structure, openmm.System]:
    """OpenMM's force-field files, with a box of water if asked for."""
    files = list(config.forcefield or ())
    for file in files:
        reason = obstacle(file) if os.path.exists(file) else ""
        if reason:
            raise ValueError(f"--forcefield {file} {reason}")
    try:
        forcefield = app.ForceField(*files)
    except Exception as error:  # OpenMM's reader raises many types on foreign files
        raise ValueError(
            f"--forcefield {' '.join(files)} cannot be read ({parser_reason(error)}); give OpenMM's own files, such as "
            "amber14-all.xml amber14/tip3p.xml, or paths of XML files in its format"
        ) from error
    if config.solvate is not None:
        _check_solvent(structure, config.solvate)
    modeller = app.Modeller(structure.topology, structure.positions_nm * unit.nanometer)
    try:
        if config.solvate is not None:
            modeller.addSolvent(forcefield, _water_model(forcefield), padding=config.solvate * unit.nanometer)
        # Waters of four and five sites, in the file or new, get the sites that are no atoms.
        modeller.addExtraParticles(forcefield)
        box = _box(modeller.topology)
        system = _created(config, forcefield.createSystem, modeller.topology, box)
    except (ValueError, KeyError) as error:
        raise ValueError(f"the force field does not fit {structure.path}: {error}") from error
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    if config.solvate is not None and box is not None:

        def make(narrow: np.ndarray) -> openmm.System:
            return _created(config, forcefield.createSystem, modeller.topology, narrow)

        positions, box = relax_density(config, modeller.topology, make, positions, box)
        modeller.topology.setPeriodicBoxVectors([openmm.Vec3(*vector) for vector in box] * unit.nanometer)
        system = _created(config, forcefield.createSystem, modeller.topology, box)
    return replace(structure, topology=modeller.topology, positions_nm=positions, box_nm=box), system


#: Atoms of water in a cubic nm, and how many of them a box may have before it is called a slip of the unit.
_WATER_ATOMS_PER_NM3 = 100.0
_MOST_WATER_ATOMS = 2e7


def _check_solvent(structure: Structure, padding_nm: float) -> None:
    """Refuse a box of water that would fill the memory, before it is begun."""
    edge = float(np.ptp(structure.positions_nm, axis=0).max()) + 2 * padding_nm
    atoms = edge**3 * _WATER_ATOMS_PER_NM3
    if atoms > _MOST_WATER_ATOMS:
        raise ValueError(
            f"--solvate {padding_nm:g} makes a box of {edge:.3g} nm, which would hold {atoms:.2g} atoms of water; at "
            f"most {_MOST_WATER_ATOMS:.0e} are added. The padding is in nm, and 1 is usual"
        )


#: OpenMM's boxes of water by the number of sites that are no atoms.
_WATER_BOXES = {0: "tip3p", 1: "tip4pew", 2: "tip5p"}


def _water_model(forcefield: app.ForceField) -> str:
    """The box of water with as many sites as the force field's water has."""
    topology = app.Topology()
    residue = topology.addResidue("HOH", topology.addChain())
    atoms = [topology.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name in ("O", "H1", "H2")]
    for hydrogen in atoms[1:]:
        topology.addBond(atoms[0], hydrogen)
    places = np.array([[0.0, 0.0, 0.0], [0.09572, 0.0, 0.0], [-0.023999, 0.092663, 0.0]])
    modeller = app.Modeller(topology, places * unit.nanometer)
    modeller.addExtraParticles(forcefield)
    sites = modeller.topology.getNumAtoms() - len(atoms)
    if sites not in _WATER_BOXES:
        raise ValueError(f"its water has {sites} sites that are no atoms, for which OpenMM has no box of water")
    return _WATER_BOXES[sites]


def _from_topology(config: RunConfig, structure: Structure) -> tuple[Structure, openmm.System]:
    """An Amber prmtop or a GROMACS top that belongs to the structure."""
    path = config.topology or ""
    suffix = Path(path).suffix.lower()
    box = structure.box_nm
    reason = obstacle(path)
    if reason:
        raise ValueError(f"topology file {path} {reason}")
    held = None
    if suffix in (".prmtop", ".parm7"):
        topology, system = _from_prmtop(config, path, box)
    elif suffix == ".top":
        held = read_topology(path, macros(config.define or ()), config.include or ())
        topology, system = gromacs_system(held, box, creation_settings(config, box))
    else:
        raise ValueError(
            f"topology file {path} cannot be used: its suffix is {suffix!r}; Amber's .prmtop or .parm7 and GROMACS' "
            ".top are known"
        )
    check_same_atoms(structure.topology, topology, f"structure file {structure.path}", f"topology file {path}")
    finish_system(config, system, box)
    structure = _whole(structure, topology, system)
    if held is not None:
        restrain(system, held, _reference_positions(config, structure), box is not None)
    return structure, system


def _from_prmtop(config: RunConfig, path: str, box: np.ndarray | None) -> tuple[app.Topology, openmm.System]:
    vectors = None if box is None else [openmm.Vec3(*row) for row in box] * unit.nanometer
    settings = creation_settings(config, box)
    try:
        file = app.AmberPrmtopFile(path, periodicBoxVectors=vectors)
        return file.topology, file.createSystem(**settings)
    except Exception as error:  # the reader raises anything on a foreign file
        raise ValueError(f"topology file {path} cannot be used: {parser_reason(error)}") from error


def _reference_positions(config: RunConfig, structure: Structure) -> np.ndarray:
    """Where position restraints hold atoms, in nm."""
    if config.restraint_reference is None:
        return structure.positions_nm
    reference = read_structure(config.restraint_reference, elements=False)
    if len(reference.positions_nm) != len(structure.positions_nm):
        raise ValueError(
            f"restraint-reference {reference.path} has {len(reference.positions_nm)} atoms, {structure.path} has "
            f"{len(structure.positions_nm)}; give the same atoms in the same order"
        )
    return reference.positions_nm


def _whole(structure: Structure, topology: app.Topology, system: openmm.System) -> Structure:
    """The structure with the topology's atoms, all bonds that files and System tell of, and molecules in one piece.

    OpenMM's bonded forces take no images, so a molecule that a file has broken over the faces would be torn.
    """
    bonds = find_bonds(topology, system)
    pairs = np.array([(i, j) for i, near in enumerate(bonds.neighbours) for j in near if i < j], dtype=np.int64)
    found = nearest_images(pairs, structure.positions_nm, structure.box_nm)
    check_bond_lengths(structure.path, topology, structure.positions_nm, found, structure.box_nm)
    molecules = find_molecules(len(structure.positions_nm), found)
    positions = make_whole(structure.positions_nm, structure.box_nm, molecules)
    atoms = list(topology.atoms())
    for i, j in bonds.inferred:
        topology.addBond(atoms[i], atoms[j])
    return replace(structure, topology=topology, positions_nm=positions)


def _box(topology: app.Topology) -> np.ndarray | None:
    vectors = topology.getPeriodicBoxVectors()
    return None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer))


def molecules_of(structure: Structure) -> Molecules:
    """Molecules by the bonds of the topology."""
    pairs = np.array([(b[0].index, b[1].index) for b in structure.topology.bonds()], dtype=np.int64).reshape(-1, 2)
    return find_molecules(len(structure.positions_nm), nearest_images(pairs, structure.positions_nm, structure.box_nm))
