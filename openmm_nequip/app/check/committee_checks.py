"""How far the models of a committee are from each other, on the structure and on a short run from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...deviation_limits import limits_in_force
from ...units import KJ_PER_MOL_PER_EV
from .checked_system import CheckedSystem
from .verdict import OK, CheckVerdict, graded


def check_committee(subject: CheckedSystem, facts: dict[str, Any]) -> Iterator[CheckVerdict]:
    """The deviation on the structure as it is given; nothing for a single model.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.
    facts : dict
        Gets ``committee``: deviation, spread of the energy and bias on the structure.

    Yields
    ------
    CheckVerdict
    """
    found = subject.deviation(subject.positions)
    if found is None:
        return
    spread = found.energy / KJ_PER_MOL_PER_EV
    facts["committee"] = {
        "deviation_ev_per_angstrom": found.largest, "deviation_atom": found.atom,
        "mean_deviation_ev_per_angstrom": found.mean, "energy_spread_ev": spread,
        "bias_ev": found.bias / KJ_PER_MOL_PER_EV,
    }  # fmt: skip
    biased = f", and the bias adds {found.bias / KJ_PER_MOL_PER_EV:.3g} eV" if found.bias else ""
    text = (
        f"on the structure the force on atom {found.atom} differs by {found.largest:.3g} eV/Å among the models, that "
        f"on an atom by {found.mean:.3g} eV/Å on average, the energy by {spread:.3g} eV{biased}"
    )
    yield _verdict(subject, "committee", found.largest, text)


def check_committee_run(
    subject: CheckedSystem, frames: Sequence[np.ndarray], times_fs: Sequence[float], facts: dict[str, Any]
) -> Iterator[CheckVerdict]:
    """The deviation on frames of a short run; nothing for a single model.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.
    frames : sequence of numpy.ndarray, (n_particles, 3) float64
        nm, in the box of the structure.
    times_fs : sequence of float
        When.
    facts : dict
        Its ``committee`` gets the largest deviation of each.

    Yields
    ------
    CheckVerdict
    """
    found = [each for each in map(subject.deviation, frames) if each is not None]
    if not found:
        return
    values = [each.largest for each in found]
    worst = int(np.argmax(values))
    facts["committee"]["run"] = {"time_fs": list(times_fs), "deviation_ev_per_angstrom": values}
    text = (
        f"in {len(frames)} frames of a run of {times_fs[-1]:.0f} fs the force on an atom differs by at most "
        f"{values[worst]:.3g} eV/Å among the models (atom {found[worst].atom}, at {times_fs[worst]:.0f} fs), "
        f"{np.mean(values):.3g} on average of the frames, the energy by at most "
        f"{max(each.energy for each in found) / KJ_PER_MOL_PER_EV:.3g} eV"
    )
    yield _verdict(subject, "committee in the run", values[worst], text)


def _verdict(subject: CheckedSystem, name: str, value: float, text: str) -> CheckVerdict:
    select, stop = limits_in_force(subject.config.deviation_select, subject.config.deviation_stop)
    level = graded(value, select, stop)
    if level != OK:
        text += (
            f"; up to {select:g} is ok, above {stop:g} no model is to be believed (--deviation-select and "
            "--deviation-stop set both): they were not trained on such atoms; label such frames and train on them "
            "(openmm-nequip select), or begin from another structure"
        )
    return CheckVerdict(name, level, text, value, select)
