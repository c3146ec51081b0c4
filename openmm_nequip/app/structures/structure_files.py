"""Structure files of every kind as one thing: topology, positions in nm, box or none."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from ...crystal import check_cell, reduce_cell
from ...data import shipped_damage
from ...errors import StructureError
from ...files import obstacle, parser_reason
from ...topology import is_dummy_box
from .ase_files import read_atoms
from .bonds import Bonds, Molecules, find_molecules, make_whole, nearest_images, perceive_bonds
from .element_names import guess_elements
from .slabs import check_vacuum
from .typed_box import parse_box

logger = logging.getLogger(__name__)

BOND_CHOICES = ("auto", "file", "none")


@dataclass(frozen=True, eq=False)
class Structure:
    """Atoms at a place.

    Parameters
    ----------
    path : str
        File it came from.
    topology : openmm.app.Topology
        Atoms in file order, with the bonds the file states; its own box is not used.
    positions_nm : numpy.ndarray, (n_atoms, 3) float64
        As in the file.
    box_nm : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors, of any shape and handedness; None where nothing is periodic.
    open_directions : tuple of int
        Box vectors in whose direction the file is not periodic, where it is in others.
    """

    path: str
    topology: app.Topology
    positions_nm: np.ndarray
    box_nm: np.ndarray | None
    open_directions: tuple[int, ...] = ()

    def filled(self, reach_nm: float | None) -> Structure:
        """The same structure, periodic in all directions or none, after a look at the vacuum of slabs and wires.

        Parameters
        ----------
        reach_nm : float, optional
            Cutoff of the model; None for a model without one.

        Returns
        -------
        Structure

        Raises
        ------
        StructureError
            If the vacuum is thinner than the cutoff.
        """
        if not self.open_directions or self.box_nm is None:
            return self
        check_vacuum(self.path, self.positions_nm, self.box_nm, self.open_directions, reach_nm)
        return replace(self, open_directions=())

    @property
    def symbols(self) -> list[str]:
        """Element of each atom, empty where there is none."""
        return ["" if atom.element is None else atom.element.symbol for atom in self.topology.atoms()]

    def for_dynamics(self, bonds: str = "auto") -> tuple[Structure, Molecules]:
        """The same structure as OpenMM wants it: reduced box, molecules known and in one piece.

        Parameters
        ----------
        bonds : str
            ``"file"`` for the bonds of the file only, ``"none"`` for none at all, ``"auto"`` to find by distance the
            bonds of atoms to which the file gives none.

        Returns
        -------
        structure : Structure
            Its topology has the box and the bonds of all finite molecules.
        molecules : Molecules
            By these bonds.

        Raises
        ------
        ValueError
            If ``bonds`` is none of the three.
        """
        if bonds not in BOND_CHOICES:
            raise ValueError(f"bonds={bonds!r} is unknown; use one of {', '.join(BOND_CHOICES)}")
        positions, box = self.positions_nm, self.box_nm
        if self.box_nm is not None:
            positions, box = reduce_cell(positions, self.box_nm)
            if not np.allclose(box, self.box_nm, atol=1e-6):
                logger.info("the box of %s was rotated and reduced to OpenMM's form: %s nm", self.path, box.tolist())
        found = self._bonds(positions, box, bonds)
        molecules = find_molecules(len(positions), found)
        if not molecules.finite.all():
            logger.info(
                "%d of %d connected pieces have no end (a crystal or a polymer): their bonds are left out",
                int((~molecules.finite).sum()),
                molecules.count,
            )
            kept = molecules.finite[molecules.labels[found.pairs[:, 0]]]
            found = Bonds(found.pairs[kept], found.shifts[kept])
            molecules = find_molecules(len(positions), found)
        positions = make_whole(positions, box, molecules)
        topology = copy_topology(self.topology, found.pairs)
        if box is not None:
            topology.setPeriodicBoxVectors([openmm.Vec3(*vector) for vector in box] * unit.nanometer)
        return replace(self, topology=topology, positions_nm=positions, box_nm=box), molecules

    def _bonds(self, positions: np.ndarray, box: np.ndarray | None, choice: str) -> Bonds:
        stated = np.array([(b[0].index, b[1].index) for b in self.topology.bonds()], dtype=np.int64).reshape(-1, 2)
        if choice == "none":
            return nearest_images(stated[:0], positions, box)
        from_file = nearest_images(stated, positions, box)
        if choice == "file":
            return from_file
        bonded = np.zeros(len(positions), dtype=bool)
        bonded[stated] = True
        seen = perceive_bonds(self.symbols, positions, box)
        new = ~bonded[seen.pairs].any(axis=1)
        if new.any():
            logger.info(
                "%d bonds between atoms that %s leaves without any were found by distance (--bonds file turns this "
                "off); they only tell OpenMM which atoms form a molecule",
                int(new.sum()),
                self.path,
            )
        return Bonds(
            np.concatenate([from_file.pairs, seen.pairs[new]]), np.concatenate([from_file.shifts, seen.shifts[new]])
        )


def copy_topology(topology: app.Topology, pairs: np.ndarray) -> app.Topology:
    """A topology with the same atoms, in the same order, and other bonds.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms; not changed.
    pairs : numpy.ndarray, (n_bonds, 2) int64
        The bonds.

    Returns
    -------
    openmm.app.Topology
        Without a box.
    """
    new = app.Topology()
    atoms = []
    for chain in topology.chains():
        new_chain = new.addChain(chain.id)
        for residue in chain.residues():
            new_residue = new.addResidue(residue.name, new_chain, residue.id, residue.insertionCode)
            for atom in residue.atoms():
                atoms.append(new.addAtom(atom.name, atom.element, new_residue, atom.id))
    for i, j in pairs.tolist():
        new.addBond(atoms[i], atoms[j])
    return new


def read_structure(
    path: str | os.PathLike[str],
    box: Sequence[float] | None = None,
    frame: int = -1,
    elements: bool = True,
    slabs: bool = False,
) -> Structure:
    """Read a structure file.

    Parameters
    ----------
    path : str or path-like
        PDB, mmCIF or GRO through OpenMM; extxyz, CIF, POSCAR and everything else through ASE.
    box : sequence of float, optional
        Three edge lengths or nine vector components in Å, instead of the file's box.
    frame : int
        Which frame of several, counted from 0, or from the end if negative.
    elements : bool
        Whether the elements are needed. If so, names that do not tell them (in GRO, and in PDB without elements) are
        an error; otherwise such atoms have none.
    slabs : bool
        Whether a structure may be periodic in some directions only; the caller then calls :meth:`Structure.filled`.

    Returns
    -------
    Structure

    Raises
    ------
    StructureError
        If the file is missing, unreadable or empty, has no such frame, is periodic in some directions only without
        `slabs`, or has positions that are not finite.
    ValueError
        If a box has no volume or is none.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    problem = obstacle(path) or shipped_damage(path)
    if problem:
        raise StructureError(f"structure file {path} {problem}", path)
    given = None if box is None else parse_box(box)
    try:
        topology, positions, found, open_directions = _reader(path)(path, frame, elements)
    except StructureError as error:
        raise StructureError(f"structure file {path}: {error}", path) from None
    except Exception as error:  # the readers raise anything at all on a foreign file
        raise StructureError(
            f"structure file {path} cannot be read as {Path(path).suffix or 'a file without suffix'} "
            f"({parser_reason(error)}); PDB, "
            "mmCIF, GRO, extxyz, xyz, CIF, POSCAR and other formats of ASE are known, by their suffix",
            path,
        ) from error
    positions = np.ascontiguousarray(positions, dtype=np.float64)
    if len(positions) == 0:
        raise StructureError(f"structure file {path} has no atoms; is it of the kind that its suffix says?", path)
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    if len(bad):
        named = ", ".join(map(str, bad[:10])) + ", ..." * (len(bad) > 10)
        raise StructureError(
            f"structure file {path} has positions that are NaN or infinite, of the atoms {named}", path
        )
    if given is not None:
        found = given
    elif found is not None and is_dummy_box(found):
        logger.info("the 1 Å unit cell in %s stands for none: the structure is not periodic", path)
        found = None
    elif found is not None:
        found = check_cell(found, f"the box in {path} (nm)")
    structure = Structure(path, topology, positions, found, open_directions)
    if open_directions and not slabs:
        raise StructureError(
            f"structure file {path} is periodic in some directions only, and this calculation is not for slabs and "
            "wires; make it periodic in all three with enough vacuum in the box, or in none",
            path,
        )
    return structure


_Read = tuple[app.Topology, np.ndarray, "np.ndarray | None", tuple[int, ...]]


def _reader(path: str) -> Callable[[str, int, bool], _Read]:
    suffix = Path(path).suffix.lower()
    if suffix in (".pdb", ".ent"):
        return _read_pdb
    if suffix in (".mmcif", ".pdbx"):
        return _read_mmcif
    if suffix == ".cif":
        # Small-molecule CIF and mmCIF share a suffix; only the latter has this category.
        with open(path, encoding="utf-8", errors="replace") as file:
            return _read_mmcif if "_atom_site.Cartn_x" in file.read() else _read_ase
    return _read_gro if suffix == ".gro" else _read_ase


def _pick(frame: int, count: int) -> int:
    if not -count <= frame < count:
        raise StructureError(f"frame {frame} was asked for, but there are {count}")
    if count > 1:
        logger.info("frame %d of %d is used", frame % count, count)
    return frame % count


def _openmm_frame(file: app.PDBFile | app.PDBxFile, frame: int) -> _Read:
    if file.topology.getNumAtoms() == 0:
        raise StructureError("no atoms; is it of the kind that its suffix says?")
    index = _pick(frame, file.getNumFrames())
    positions = np.array(file.getPositions(asNumpy=True, frame=index).value_in_unit(unit.nanometer))
    if len(positions) != file.topology.getNumAtoms():
        raise StructureError(
            f"its model {index} has {len(positions)} atoms and its first {file.topology.getNumAtoms()}; the models of "
            "a file must be of the same atoms: give a file with the one that is meant"
        )
    vectors = file.topology.getPeriodicBoxVectors()
    box = None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer))
    return file.topology, positions, box, ()


def _read_pdb(path: str, frame: int, elements: bool) -> _Read:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = app.PDBFile(path)
    if any("duplicate atom" in str(warning.message) for warning in caught):
        # OpenMM drops atoms that share a name in a residue; programs without names, ASE among them, write such files.
        return _read_ase(path, frame)
    _name_elements(path, file.topology, elements)
    return _openmm_frame(file, frame)


def _name_elements(path: str, topology: app.Topology, needed: bool) -> None:
    """Elements of the atoms of a PDB file to which it states none: OpenMM takes SOD for sulfur."""
    blank = set()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith(("ATOM", "HETATM")) and not line[76:78].strip():
                blank.add((line[6:11].strip(), line[22:26].strip()))
    if not blank:
        return
    atoms = list(topology.atoms())
    sizes = Counter(atom.residue.index for atom in atoms)
    names = [(atom.name, atom.residue.name, sizes[atom.residue.index] == 1) for atom in atoms]
    wanted = [(atom.id, atom.residue.id) in blank for atom in atoms]
    for atom, element, asked in zip(atoms, guess_elements(path, names, wanted, needed), wanted, strict=True):
        if asked:
            atom.element = element


def _read_mmcif(path: str, frame: int, elements: bool) -> _Read:
    return _openmm_frame(app.PDBxFile(path), frame)


def _read_gro(path: str, frame: int, elements: bool) -> _Read:
    file = app.GromacsGroFile(path)
    index = _pick(frame, file.getNumFrames())
    rows = list(zip(file.residueIds, file.residueNames, strict=True))
    starts = [k for k in range(len(rows)) if k == 0 or rows[k] != rows[k - 1]]
    sizes = np.diff([*starts, len(rows)])
    # Several ions may share a number.
    single = [len(set(file.atomNames[k : k + size])) == 1 for k, size in zip(starts, sizes, strict=True)]
    alone = np.repeat(single, sizes)
    # GromacsGroFile.elements skips atoms whose names have one letter, so elements are found here.
    names = [(name, row[1], bool(one)) for name, row, one in zip(file.atomNames, rows, alone, strict=True)]
    guesses = guess_elements(path, names, needed=elements)
    topology = app.Topology()
    chain = topology.addChain()
    residue = None
    for k, (name, element) in enumerate(zip(file.atomNames, guesses, strict=True)):
        if residue is None or rows[k] != rows[k - 1]:
            residue = topology.addResidue(rows[k][1], chain, str(rows[k][0]))
        topology.addAtom(name, element, residue)
    positions = np.array(file.getPositions(asNumpy=True, frame=index).value_in_unit(unit.nanometer))
    vectors = np.array(file.getPeriodicBoxVectors(frame=index).value_in_unit(unit.nanometer))
    # A box of zeros is how GROMACS writes a structure in vacuum.
    return topology, positions, vectors if vectors.any() else None, ()


def _read_ase(path: str, frame: int, elements: bool = True) -> _Read:
    symbols, positions, box, open_directions = read_atoms(path, frame)
    return topology_of(symbols, positions, box), positions, box, open_directions


def topology_of(symbols: list[str], positions: np.ndarray, box: np.ndarray | None) -> app.Topology:
    """A topology for bare atoms: one residue per molecule where its atoms stand together, else one for all.

    Parameters
    ----------
    symbols : list of str
        Elements; X for none.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm.
    box : numpy.ndarray, (3, 3) float64, or None
        Rows are the box vectors in nm.

    Returns
    -------
    openmm.app.Topology
        Without bonds and box.
    """
    topology = app.Topology()
    chain = topology.addChain()
    n = len(symbols)
    labels = np.zeros(n, dtype=np.int64)
    if np.isfinite(positions).all() and (box is None or abs(np.linalg.det(box)) > 0):
        labels = find_molecules(n, perceive_bonds(symbols, positions, box)).labels
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    if len(starts) != len(set(labels.tolist())):
        starts = np.zeros(1, dtype=np.int64)
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        members = symbols[start:end]
        residue = topology.addResidue("HOH" if sorted(members) == ["H", "H", "O"] else "UNK", chain)
        total, seen = Counter(members), Counter[str]()
        for symbol in members:
            seen[symbol] += 1
            element = None if symbol == "X" else app.Element.getBySymbol(symbol)
            name = symbol if total[symbol] == 1 else f"{symbol}{seen[symbol]}"
            topology.addAtom(name, element, residue)
    return topology
