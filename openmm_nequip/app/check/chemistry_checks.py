"""Whether the numbers are those of matter: stiffness of bonds, forces, binding; units and types that would be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...errors import NonFiniteError
from ...units import (
    KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM,
    KJ_PER_MOL_PER_EV,
    N_PER_M_PER_KJ_PER_MOL_PER_NM2,
    Units,
    resolve_units,
)
from ..structures.bonds import perceive_bonds
from .checked_system import CheckedSystem
from .verdict import LOOK, OK, STOP, CheckVerdict

#: Force constants of stretching, N/m, of single and of multiple bonds (G. Herzberg, Infrared and Raman Spectra, 1945;
#: E. B. Wilson, J. C. Decius and P. C. Cross, Molecular Vibrations, 1955, appendix).
_STRETCH = {
    "H-H": 575, "C-H": 490, "H-N": 640, "H-O": 780, "H-S": 410, "F-H": 880, "Cl-H": 480, "C-C": 500, "C-N": 600,
    "C-O": 600, "C-S": 320, "C-F": 600, "C-Cl": 340, "Br-C": 290, "N-N": 600, "N-O": 700, "O-O": 500, "O-P": 600,
    "O-S": 700, "O-Si": 500, "S-S": 250, "C-Si": 300,
}  # fmt: skip
#: Pairs of units that models are trained in.
_LENGTHS, _ENERGIES = ("angstrom", "nm", "bohr"), ("eV", "kJ/mol", "kcal/mol", "hartree")
#: The median of the ratios to these numbers: units differ by 4 and more.
RATIO = 2.4
MOST_BONDS = 24
_STEP_NM = 5e-4
#: Root mean square force of a structure that is near a minimum or thermal, eV/Å.
FORCE_LOOK, FORCE_STOP = 5.0, 30.0
#: Binding energy per atom, eV: noble gases have next to none, tungsten 8.9.
BINDING = (0.02, 12.0)
#: Neighbours of an atom against those in the training data: a gas or a crystal for a model of a liquid.
OTHER_DENSITY = 3.0
#: Exchanging two types makes forces so many times smaller where they were the wrong way round.
SWAP = 3.0
_SWAP_FORCE = 1.0
_EV_PER_ANGSTROM = KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM


def stiffness(subject: CheckedSystem, pairs: np.ndarray, points: np.ndarray, units: Units | None = None) -> np.ndarray:
    """Second derivatives of the model's energy along bonds.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.
    pairs : numpy.ndarray, (n_bonds, 2) int64
        Atoms of the model.
    points : numpy.ndarray, (n_atoms, 3) float64
        Their positions, nm.
    units : Units, optional
        Other units than those of the run.

    Returns
    -------
    numpy.ndarray, (n_bonds,) float64
        N/m.
    """
    box = subject.own_box
    found = []
    for i, j in pairs:
        vector = points[j] - points[i]
        if box is not None:
            vector = vector - np.rint(vector @ np.linalg.inv(box)) @ box
        axis = vector / np.linalg.norm(vector)
        slopes = []
        for sign in (-1.0, 1.0):
            moved = points.copy()
            moved[i] -= sign * 0.5 * _STEP_NM * axis
            moved[j] += sign * 0.5 * _STEP_NM * axis
            forces = subject.model_answer(moved, box, units=units)[1]
            slopes.append(0.5 * float((forces[j] - forces[i]) @ axis))
        found.append((slopes[0] - slopes[1]) / (2 * _STEP_NM) * N_PER_M_PER_KJ_PER_MOL_PER_NM2)
    return np.array(found)


def chosen_bonds(subject: CheckedSystem) -> np.ndarray:
    """Some covalent bonds, of every pair of elements that there are, (n_bonds, 2) int64."""
    symbols = subject.symbols
    structure = subject.setup.structure
    every = perceive_bonds(structure.symbols, structure.positions_nm, structure.box_nm).pairs
    place = {int(atom): k for k, atom in enumerate(subject.atoms)}
    by_kind: dict[str, list[tuple[int, int]]] = {}
    for a, b in every:
        if int(a) in place and int(b) in place:
            i, j = place[int(a)], place[int(b)]
            by_kind.setdefault(_kind(symbols[i], symbols[j]), []).append((i, j))
    known = {kind: pairs for kind, pairs in by_kind.items() if kind in _STRETCH}
    chosen: list[tuple[int, int]] = []
    for turn in range(MOST_BONDS):
        for pairs in known.values():
            if turn < len(pairs) and len(chosen) < MOST_BONDS:
                chosen.append(pairs[turn])
    return np.array(chosen, dtype=np.int64).reshape(-1, 2)


def _kind(a: str, b: str) -> str:
    return "-".join(sorted((a, b)))


def check_units(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Stiffness of bonds and size of forces; where they are not those of matter, units that would make them so.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    points, box = subject.positions[subject.atoms], subject.own_box
    pairs = chosen_bonds(subject)
    force = _mean_force(subject.model_answer(points, box)[1])
    ratio = _ratio(subject, pairs, points, None)
    if _plausible(ratio, force):
        text = f"root mean square force {force:.2g} eV/Å"
        if ratio is not None:
            text += f"; bonds are {ratio:.2f} times as stiff as in tables (median of {len(pairs)})"
        yield CheckVerdict("units", OK, text, ratio, RATIO)
        return
    better = []
    for length in _LENGTHS:
        for energy in _ENERGIES:
            units = resolve_units(length, energy)
            try:
                other_force = _mean_force(subject.model_answer(points, box, units=units)[1])
                other = _ratio(subject, pairs, points, units)
            except (NonFiniteError, ValueError):
                continue
            if _plausible(other, other_force):
                better.append((abs(np.log(other or 1.0)) + 0.1 * other_force, f"{length} {energy}"))
    what = f"root mean square force {force:.3g} eV/Å"
    if ratio is not None:
        what += f", bonds {ratio:.3g} times as stiff as in tables (median of {len(pairs)})"
    level = STOP if better or force > FORCE_STOP or (ratio is not None and not 0.2 < ratio < 6) else LOOK
    cure = "no other units would make sense either: the structure or the types are not those of the model"
    if better:
        best = min(better)[1]
        others = f" (or {', '.join(name for _, name in sorted(better)[1:3])})" if len(better) > 1 else ""
        cure = f"with --units {best} the numbers would be those of matter{others}"
    yield CheckVerdict("units", level, f"{what}, in units of {subject.units.describe()}: {cure}", ratio, RATIO)


def _plausible(ratio: float | None, force: float) -> bool:
    return force <= FORCE_LOOK and (ratio is None or 1 / RATIO <= ratio <= RATIO)


def _mean_force(forces: np.ndarray) -> float:
    return float(np.sqrt((forces**2).sum(axis=1).mean())) / _EV_PER_ANGSTROM


def _ratio(subject: CheckedSystem, pairs: np.ndarray, points: np.ndarray, units: Units | None) -> float | None:
    """Median ratio of stiffnesses to those of tables; None without bonds that tables know."""
    if not len(pairs):
        return None
    symbols = subject.symbols
    usual = np.array([_STRETCH[_kind(symbols[i], symbols[j])] for i, j in pairs])
    return float(np.median(stiffness(subject, pairs, points, units) / usual))


def check_types(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Whether types fit elements, and whether exchanging two of them would make more sense.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    names = subject.model.info.type_names
    points, box = subject.positions[subject.atoms], subject.own_box
    forces = subject.model_answer(points, box)[1]
    force = _mean_force(forces)
    present = sorted(set(subject.types.tolist()))
    better = []
    for k, first in enumerate(present):
        for second in present[k + 1 :]:
            types = subject.types.copy()
            types[subject.types == first], types[subject.types == second] = second, first
            try:
                other = _mean_force(subject.model_answer(points, box, types)[1])
            except NonFiniteError:
                continue
            if force > _SWAP_FORCE and force > SWAP * other:
                better.append((other, names[first], names[second]))
    if better:
        other, first_name, second_name = min(better)
        yield CheckVerdict(
            "types",
            STOP,
            f"the types {first_name} and {second_name} look exchanged: the root mean square force is {force:.3g} eV/Å, "
            f"and {other:.3g} eV/Å with the two the other way round; look at --types and at the order of the model's "
            f"types ({', '.join(names)})",
            force,
            SWAP * other,
        )
        return
    from ase.data import atomic_numbers

    named = [(symbol, names[kind]) for symbol, kind in zip(subject.symbols, subject.types.tolist(), strict=True)]
    strange = sorted({f"{symbol} as {name}" for symbol, name in named if symbol != name and name in atomic_numbers})
    if strange:
        text = f"atoms are given types of other elements: {', '.join(strange[:5])}; look at --types"
        yield CheckVerdict("types", LOOK, text)
        return
    yield CheckVerdict("types", OK, f"{len(present)} types; no exchange of two makes forces smaller")


def check_isolated(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Binding energy per atom, against atoms far from each other.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    present, counts = np.unique(subject.types, return_counts=True)
    try:
        alone = [subject.model_answer(np.zeros((1, 3)), None, np.array([kind]))[0] for kind in present]
    except (NonFiniteError, ValueError, RuntimeError) as error:
        yield CheckVerdict("isolated atoms", LOOK, f"the model gives no energy for one atom alone: {error}")
        return
    energy = subject.model_answer(subject.positions[subject.atoms], subject.own_box)[0]
    apart = float(np.dot(alone, counts))
    binding = (apart - energy) / len(subject.types) / KJ_PER_MOL_PER_EV
    least, most = BINDING
    if len(subject.types) == 1 or least <= binding <= most:
        yield CheckVerdict("isolated atoms", OK, f"binding energy {binding:.3g} eV an atom", binding, most)
        return
    text = (
        f"binding energy {binding:.3g} eV an atom, and {least:g} to {most:g} is usual. Most models have never seen an "
        "atom alone, and then this says nothing; otherwise units, types or the structure are not those of the model"
    )
    yield CheckVerdict("isolated atoms", LOOK, text, binding, most)


def check_neighbours(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Atoms without a neighbour within the cutoff, of which the model knows nothing but their type.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    from vesin import NeighborList

    cutoff = subject.cutoff_nm
    if cutoff is None or len(subject.atoms) < 2:
        return
    points, box = subject.positions[subject.atoms], subject.own_box
    cell = np.zeros((3, 3)) if box is None else box
    (first,) = NeighborList(cutoff=cutoff, full_list=True).compute(points, cell, box is not None, "i")
    counts = np.bincount(np.asarray(first, dtype=np.int64), minlength=len(points))
    alone = np.flatnonzero(counts == 0)
    text = f"{counts.mean():.0f} neighbours an atom within {10 * cutoff:.2f} Å ({counts.min()} to {counts.max()})"
    trained = subject.training_neighbors
    strange = trained is not None and not 1 / OTHER_DENSITY < counts.mean() / trained < OTHER_DENSITY
    if trained is not None:
        text += f"; {trained:.0f} in the model's training data"
    if strange:
        text += ": another density or phase than it knows"
    if len(alone):
        text += (
            f"; {len(alone)} atoms have none, the first is atom {int(subject.atoms[alone[0]])}: no force of the model "
            "acts on them, and they will leave"
        )
    yield CheckVerdict("neighbours", LOOK if len(alone) or strange else OK, text, float(counts.mean()), None)
