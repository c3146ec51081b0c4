"""Whether forces are those of the energy, how noisy they are, and whether the model has the symmetries of physics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from ...units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM
from .checked_system import CheckedSystem
from .verdict import OK, CheckVerdict, graded

#: How far atoms are moved from the given structure before anything is compared: a thermal vibration.
RATTLE_NM = 0.004
#: Root mean square displacement of an atom along a line on which energies are compared with forces.
STEP_NM = 5e-4
LINES = 4
#: Work along a line against the force on it, as a part of the largest force.
WORK_LOOK, WORK_STOP = 0.01, 0.05
#: Noise of a force component: eV/Å. float32 models have 1e-6 to 1e-5, TF32 1e-3.
NOISE_LOOK, NOISE_STOP = 2e-4, 5e-3
_NOISE_POINTS = 15
_NOISE_STEP_NM = 2e-5
#: Differences under a symmetry, as a part of the largest force.
SYMMETRY_LOOK, SYMMETRY_STOP = 1e-3, 2e-2
_EV_PER_ANGSTROM = KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM


def check_forces(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """The same answer twice, work against forces, and noise along a line.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    start = subject.rattled(RATTLE_NM)
    energy, forces = subject.answer(start)
    largest = max(float(np.abs(forces).max()), 1e-12)
    again_energy, again = subject.answer(start)
    off = float(np.abs(again - forces).max())
    level = graded(off / _EV_PER_ANGSTROM, NOISE_LOOK, NOISE_STOP)
    text = "the same positions give the same forces"
    if level != OK:
        text = (
            f"the same positions give forces that differ by {off / _EV_PER_ANGSTROM:.2g} eV/Å from call to call "
            f"(energies by {abs(again_energy - energy):.2g} kJ/mol): the model draws random numbers or reads memory "
            "that it should not; do not run it"
        )
    yield CheckVerdict("repeats itself", level, text, off / _EV_PER_ANGSTROM, NOISE_LOOK)
    yield _work(subject, start, forces, largest)
    yield _noise(subject, start, largest)


def _work(subject: CheckedSystem, start: np.ndarray, forces: np.ndarray, largest: float) -> CheckVerdict:
    """Central differences of the energy along random directions."""
    random = np.random.default_rng(5)
    moving = subject.masses > 0
    worst = 0.0
    for _ in range(LINES):
        direction = random.normal(size=start.shape) * moving[:, None]
        direction /= np.linalg.norm(direction) / np.sqrt(max(moving.sum(), 1))
        energies = [subject.answer(start + k * STEP_NM * direction)[0] for k in (-2, -1, 1, 2)]
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * STEP_NM)
        expected = -float(np.vdot(forces, direction))
        scale = largest * np.sqrt(max(moving.sum(), 1))
        worst = max(worst, abs(slope - expected) / scale)
    level = graded(worst, WORK_LOOK, WORK_STOP)
    text = f"work along {LINES} random lines is that of the forces, to {worst:.1e} of the largest force"
    if level != OK:
        text = (
            f"the energy changes along a line by another amount than the forces say ({worst:.1%} of the largest force, "
            f"at most {WORK_LOOK:.0%} is expected): the forces are not the gradient of the energy; no energy is "
            "conserved with them"
        )
    return CheckVerdict("forces and energy", level, text, worst, WORK_LOOK)


def _noise(subject: CheckedSystem, start: np.ndarray, largest: float) -> CheckVerdict:
    """Scatter of force components about a smooth curve on a short line."""
    random = np.random.default_rng(6)
    direction = random.normal(size=start.shape) * (subject.masses > 0)[:, None]
    places = np.linspace(-1, 1, _NOISE_POINTS)
    rows = np.array(
        [subject.answer(start + place * _NOISE_STEP_NM * direction)[1].ravel() for place in places]
    )
    smooth = np.polynomial.polynomial.polyfit(places, rows, 3)
    rest = rows - np.polynomial.polynomial.polyval(places, smooth).T
    freedom = _NOISE_POINTS - 4
    noise = float(np.sqrt((rest**2).sum(axis=0) / freedom).max()) / _EV_PER_ANGSTROM
    level = graded(noise, NOISE_LOOK, NOISE_STOP)
    text = f"forces are smooth to {noise:.1e} eV/Å"
    if level != OK:
        text = (
            f"force components scatter by {noise:.1e} eV/Å about a smooth curve where positions change by "
            f"{_NOISE_STEP_NM:g} nm; float32 models have 1e-5. Reduced precision (TF32, half) or noise in the model: "
            "energy will drift and minima will not be found; run it in float32 or float64"
        )
    return CheckVerdict("noise", level, text, noise, NOISE_LOOK)


def check_symmetries(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Translation, rotation, exchange of atoms of one kind, and another image of an atom, for the model alone.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    box = subject.own_box
    points = subject.rattled(RATTLE_NM)[subject.atoms]
    energy, forces = subject.model_answer(points, box)
    scale = max(float(np.abs(forces).max()), 1e-12)
    turn = Rotation.from_rotvec([0.7, -0.4, 1.1]).as_matrix()
    cases: list[tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray]] = [
        ("translation", points + np.array([0.013, -0.21, 0.37]), box, None, forces),
        ("rotation", points @ turn.T, None if box is None else box @ turn.T, None, forces @ turn.T),
    ]
    order = np.random.default_rng(2).permutation(len(points))
    cases.append(("order of the atoms", points[order], box, order, forces[order]))
    if box is not None:
        moved = points.copy()
        moved[0] += box[0] - box[1]
        moved[-1] -= box[2]
        cases.append(("periodic images", moved, box, None, forces))
    for name, places, cell, given, expected in cases:
        types = None if given is None else subject.types[given]
        other_energy, other = subject.model_answer(places, cell, types)
        off = float(np.abs(other - expected).max()) / scale
        energy_off = abs(other_energy - energy)
        level = graded(off, SYMMETRY_LOOK, SYMMETRY_STOP)
        text = f"nothing changes (forces to {off:.1e} of the largest)"
        if level != OK:
            text = (
                f"forces change by {off:.1e} of the largest and the energy by {energy_off:.2g} kJ/mol, and nothing "
                "should: the model is not one of this physics, or is given something in another order or unit"
            )
        yield CheckVerdict(name, level, text, off, SYMMETRY_LOOK)


