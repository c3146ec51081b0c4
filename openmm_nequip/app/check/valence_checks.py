"""Whether a region ends where it may: the bonds that are cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .bond_vectors import BondVectors
from .checked_system import CheckedSystem
from .hydrogen_checks import check_hydrogens
from .verdict import LOOK, OK, STOP, CheckVerdict

#: A bond shorter than this part of the sum of covalent radii is a multiple or a conjugated one: single bonds of C, N
#: and O have 0.97 to 1.02, amides and benzene 0.91.
_MULTIPLE = 0.95
_MOST_NAMED = 5


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
    bonds = BondVectors(subject.setup.structure)
    names = _names(subject)
    cut = _cut(subject, bonds) if subject.hybrid else []
    if subject.hybrid:
        yield _cuts(subject, bonds, cut, names)
    yield check_hydrogens(subject, bonds, names, len(cut))


def _cut(subject: CheckedSystem, bonds: BondVectors) -> list[tuple[int, int]]:
    """Bonds from an atom of the region to one outside."""
    inside = set(subject.atoms.tolist())
    symbols = subject.setup.structure.symbols
    return [(i, j) for i in sorted(inside) for j in bonds.near[i] if j not in inside and symbols[i] and symbols[j]]


def _cuts(
    subject: CheckedSystem, bonds: BondVectors, cut: list[tuple[int, int]], names: list[str]
) -> CheckVerdict:
    from ase.data import atomic_numbers, covalent_radii

    symbols = subject.setup.structure.symbols
    wrong: list[tuple[str, str]] = []
    for i, j in cut:
        radii = sum(covalent_radii[atomic_numbers[symbols[atom]]] for atom in (i, j)) * 0.1
        part = float(np.linalg.norm(bonds.near[i][j])) / radii
        bond = f"{names[i]}-{names[j]}"
        if symbols[j] == "H":
            wrong.append((STOP, f"{bond} leaves a hydrogen outside: take it into --ml-atoms"))
        elif symbols[i] == "H":
            wrong.append((STOP, f"{bond} takes a hydrogen in without its atom: leave it out, or take its molecule in"))
        elif part < _MULTIPLE and bonds.in_ring(i, j):
            wrong.append((STOP, f"{bond} is a conjugated bond of a ring: take the whole ring, or none of it"))
        elif part < _MULTIPLE:
            wrong.append((LOOK, f"{bond} is a multiple or conjugated bond ({part:.2f} of a single bond's length): cut "
                          "a C-C single bond instead"))  # fmt: skip
        elif bonds.in_ring(i, j):
            wrong.append((LOOK, f"{bond} is a bond of a ring"))
        elif {symbols[i], symbols[j]} != {"C"}:
            wrong.append((LOOK, f"{bond} is a polar bond: cut a C-C single bond instead"))
    if not wrong:
        return CheckVerdict("cut bonds", OK, f"{len(cut)} single bonds are cut and capped", float(len(cut)), None)
    level = STOP if any(each == STOP for each, _ in wrong) else LOOK
    shown = "; ".join(text for _, text in wrong[:_MOST_NAMED])
    return CheckVerdict("cut bonds", level, f"{len(cut)} bonds are cut: {shown}", float(len(wrong)), 0.0)


def _names(subject: CheckedSystem) -> list[str]:
    atoms = subject.setup.structure.topology.atoms()
    return [f"{atom.index} ({atom.residue.name}{atom.residue.id} {atom.name})" for atom in atoms]
