"""GROMACS' index files (``.ndx``): groups of atoms by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import openmm.app as app

from ...errors import EngineInputError
from ...files import TEXT_ENCODING, text_obstacle

_WATERS = ("SOL", "HOH", "WAT", "H2O", "TIP3", "TIP4", "TIP5", "SPC")
_AMINO_ACIDS = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL ACE NME NH2 HIE HID HIP HSD HSE "
    "HSP HISD HISE HISH CYX CYS2 CYM ASH GLH LYN LYSH ARGN NAC NMA FOR".split()
)


@dataclass(frozen=True)
class IndexGroup:
    """Atoms with a name."""

    name: str
    atoms: tuple[int, ...]  #: from 0, in the order of the file
    line: int | None = None  #: where it begins; None for a group that GROMACS makes itself


@dataclass(frozen=True)
class IndexGroups:
    """All groups of a system.

    Attributes
    ----------
    groups : list of IndexGroup
        In the order of the file.
    path : str or None
        The file; None where there is none and the groups are those that GROMACS makes itself.
    """

    groups: list[IndexGroup] = field(default_factory=list)
    path: str | None = None

    def find(self, name: str) -> IndexGroup | None:
        """A group by its name, in any case; None where there is none; of several the first, as ``grompp`` has it."""
        return next((group for group in self.groups if group.name.lower() == name.lower()), None)

    @property
    def names(self) -> str:
        """Names for messages."""
        return ", ".join(dict.fromkeys(group.name for group in self.groups)) or "none"


def read_index(path: str) -> IndexGroups:
    """Read an index file.

    Parameters
    ----------
    path : str
        The file.

    Returns
    -------
    IndexGroups

    Raises
    ------
    EngineInputError
        If it cannot be read, or something in it is neither the name of a group nor the number of an atom.
    """
    reason = text_obstacle(path)
    if reason:
        raise EngineInputError(f"the index file {reason}", path)
    groups: list[IndexGroup] = []
    atoms: list[int] = []
    with open(path, encoding=TEXT_ENCODING, errors="replace") as file:
        for number, text in enumerate(file, 1):
            text = text.split(";")[0].strip()
            if text.startswith("["):
                if not text.endswith("]") or not text[1:-1].strip():
                    raise EngineInputError(f"{text!r} is no name of a group; expected '[ NAME ]'", path, number)
                groups, atoms = [*_with_atoms(groups, atoms), IndexGroup(text[1:-1].strip(), (), number)], []
                continue
            for word in text.split():
                if not groups:
                    raise EngineInputError(f"{word!r} stands before the first group; expected '[ NAME ]'", path, number)
                if not word.isdigit() or int(word) < 1:
                    raise EngineInputError(f"{word!r} is no number of an atom; they count from 1", path, number)
                atoms.append(int(word) - 1)
    if not groups:
        raise EngineInputError("the index file has no groups; expected '[ NAME ]' and numbers of atoms", path)
    return IndexGroups(_with_atoms(groups, atoms), path)


def _with_atoms(groups: list[IndexGroup], atoms: Sequence[int]) -> list[IndexGroup]:
    """The same groups, the last one with its atoms."""
    if not groups:
        return groups
    last = groups[-1]
    return [*groups[:-1], IndexGroup(last.name, tuple(atoms), last.line)]


def default_groups(topology: app.Topology) -> IndexGroups:
    """The groups that ``grompp`` makes where no index file is given, of those the ones for whole residues.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms, with the names of their residues.

    Returns
    -------
    IndexGroups
    """
    everything, protein, water = [], [], []
    by_name: dict[str, list[int]] = {}
    for atom in topology.atoms():
        name = atom.residue.name.upper()
        everything.append(atom.index)
        if name in _AMINO_ACIDS:
            protein.append(atom.index)
        else:
            by_name.setdefault("SOL" if name in _WATERS else atom.residue.name, []).append(atom.index)
            if name in _WATERS:
                water.append(atom.index)
    found = [("System", everything)]
    if protein:
        found += [("Protein", protein), ("non-Protein", _others(everything, protein))]
    other = _others(everything, [*protein, *water])
    found += [("Other", other)] if other else []
    found += by_name.items()
    if water:
        found += [("Water", water), ("non-Water", _others(everything, water))]
    return IndexGroups([IndexGroup(name, tuple(atoms)) for name, atoms in found if atoms])


def _others(everything: Sequence[int], some: Sequence[int]) -> list[int]:
    inside = set(some)
    return [i for i in everything if i not in inside]
