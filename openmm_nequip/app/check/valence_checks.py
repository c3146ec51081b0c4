"""Whether the model's atoms are a molecule that it can know: cut bonds, hydrogens, valences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..structures.bonds import nearest_images
from .checked_system import CheckedSystem
from .verdict import LOOK, OK, STOP, CheckVerdict

#: A bond shorter than this part of the sum of covalent radii is a multiple or a conjugated one: single bonds of C, N
#: and O have 0.97 to 1.02, amides and benzene 0.91.
_MULTIPLE = 0.95
_LARGEST_RING = 8
#: Sum of the three angles at an atom in a plane is 360 degrees, at one with a fourth neighbour 329.
_PLANE = 345.0
_LINE = 160.0
_MOST_NAMED = 5
#: Most neighbours of an atom in a closed-shell molecule.
_MOST = {"H": 1, "C": 4, "N": 4, "O": 3, "F": 1}


class _Bonds:
    """Who is bonded to whom in the molecules of the structure, with lengths; networks without end have no bonds."""

    def __init__(self, subject: CheckedSystem) -> None:
        structure = subject.setup.structure
        pairs = [(bond[0].index, bond[1].index) for bond in structure.topology.bonds()]
        found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        self.near: list[dict[int, np.ndarray]] = [{} for _ in structure.symbols]
        images = nearest_images(found, structure.positions_nm, structure.box_nm)
        box = np.zeros((3, 3)) if structure.box_nm is None else structure.box_nm
        points = structure.positions_nm
        for (i, j), shift in zip(images.pairs.tolist(), images.shifts, strict=True):
            vector = points[j] + shift @ box - points[i]
            self.near[i][j] = vector
            self.near[j][i] = -vector

    def in_ring(self, i: int, j: int) -> bool:
        """Whether a bond closes a ring of at most :data:`_LARGEST_RING` atoms."""
        reached, front = {i}, {i}
        for _ in range(_LARGEST_RING - 1):
            front = {n for atom in front for n in self.near[atom] if {atom, n} != {i, j}} - reached
            if j in front:
                return True
            reached |= front
        return False

    def angles(self, atom: int) -> list[float]:
        """All angles between the bonds of an atom, degrees."""
        arms = [vector / np.linalg.norm(vector) for vector in self.near[atom].values()]
        return [
            float(np.degrees(np.arccos(np.clip(arms[a] @ arms[b], -1, 1))))
            for a in range(len(arms)) for b in range(a)
        ]  # fmt: skip


def check_region(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Cut bonds of a hybrid system, and valences of the model's atoms.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    bonds = _Bonds(subject)
    if subject.hybrid:
        yield from _cuts(subject, bonds)
    yield _valences(subject, bonds)


def _cuts(subject: CheckedSystem, bonds: _Bonds) -> Iterator[CheckVerdict]:
    from ase.data import atomic_numbers, covalent_radii

    inside = set(subject.atoms.tolist())
    symbols = subject.setup.structure.symbols
    names = _names(subject)
    cut = [(i, j) for i in inside for j in bonds.near[i] if j not in inside and symbols[i] and symbols[j]]
    wrong: list[tuple[str, str]] = []
    for i, j in cut:
        radii = sum(covalent_radii[atomic_numbers[symbols[atom]]] for atom in (i, j)) * 0.1
        part = float(np.linalg.norm(bonds.near[i][j])) / radii
        bond = f"{names[i]}-{names[j]}"
        if symbols[j] == "H":
            wrong.append((STOP, f"{bond} leaves a hydrogen outside: take it into --ml-atoms"))
        elif part < _MULTIPLE and bonds.in_ring(i, j):
            wrong.append((STOP, f"{bond} is a conjugated bond of a ring: take the whole ring, or none of it"))
        elif part < _MULTIPLE:
            wrong.append((LOOK, f"{bond} is a multiple or conjugated bond ({part:.2f} of a single bond's length): cut "
                          "a C-C single bond instead"))  # fmt: skip
        elif bonds.in_ring(i, j):
            wrong.append((LOOK, f"{bond} is a bond of a ring"))
    if not wrong:
        yield CheckVerdict("cut bonds", OK, f"{len(cut)} single bonds are cut and capped", float(len(cut)), None)
        return
    level = STOP if any(each == STOP for each, _ in wrong) else LOOK
    shown = "; ".join(text for _, text in wrong[:_MOST_NAMED])
    yield CheckVerdict("cut bonds", level, f"{len(cut)} bonds are cut: {shown}", float(len(wrong)), 0.0)


def _valences(subject: CheckedSystem, bonds: _Bonds) -> CheckVerdict:
    """Atoms with too many neighbours, and carbons whose geometry has room for another one."""
    symbols, names = subject.setup.structure.symbols, _names(subject)
    if not any(bonds.near):
        return CheckVerdict("hydrogens", OK, "no molecules: a crystal, a metal, or atoms")
    wrong = []
    for atom in subject.atoms.tolist():
        symbol, count = symbols[atom], len(bonds.near[atom])
        if symbol in _MOST and count > _MOST[symbol]:
            wrong.append(f"{names[atom]} has {count} neighbours")
        elif symbol == "C" and count == 3 and sum(bonds.angles(atom)) < _PLANE:
            wrong.append(f"{names[atom]} has three neighbours that are not in a plane with it: a fourth is missing")
        elif symbol == "C" and count == 2 and bonds.angles(atom)[0] < _LINE:
            wrong.append(f"{names[atom]} has two neighbours that are not in a line with it: others are missing")
        elif symbol == "C" and count == 1 and all(symbols[n] not in ("C", "N", "O") for n in bonds.near[atom]):
            wrong.append(f"{names[atom]} has one neighbour: others are missing")
    if not wrong:
        return CheckVerdict("hydrogens", OK, "every atom has the neighbours that it should have")
    more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
    text = "; ".join(wrong[:_MOST_NAMED]) + more
    return CheckVerdict(
        "hydrogens",
        LOOK if subject.config.reactive else STOP,
        f"{text}. Add hydrogens (OpenMM's Modeller.addHydrogens, PDBFixer), or look at the structure",
        float(len(wrong)),
        0.0,
    )


def _names(subject: CheckedSystem) -> list[str]:
    atoms = subject.setup.structure.topology.atoms()
    return [f"{atom.index} ({atom.residue.name}{atom.residue.id} {atom.name})" for atom in atoms]
