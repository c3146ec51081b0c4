"""Free energy differences between states from samples of each: MBAR, BAR, and what they are worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..series import independent_samples, quiet_pymbar, slowest_inefficiency
from ..units import GAS_CONSTANT
from .shared_samples import SOLVERS, check_overlap, solving

#: Independent samples of a state below which a note says so (P. Klimovich, M. Shirts and D. Mobley, J. Comput. Aided
#: Mol. Des. 29, 397 (2015)).
FEWEST_SAMPLES = 50
#: Frames of a state below which nothing can be said about it.
FEWEST_FRAMES = 10
#: Where errors come from leaving out one part of each run after the other: independent samples that a part is to be
#: worth, and how many parts there are at least and at most. Of an error with one correlation time parts of three
#: samples, which are six such times, lose some 8 %.
_PART, _FEWEST_PARTS, _MOST_PARTS = 3.0, 5, 20
_CURE = "add states between them, or run longer"


@dataclass(frozen=True, eq=False)
class FreeEnergies:
    """Free energies of states in units of RT, and what stands behind them.

    Parameters
    ----------
    differences, errors : numpy.ndarray, (n_states, n_states) float64
        Of the state of the column less that of the row, and standard errors; by MBAR.
    bar, bar_errors : numpy.ndarray, (n_sampled - 1,) float64
        From each sampled state to the next, and standard errors; by BAR.
    overlap : numpy.ndarray, (n_states, n_states) float64
        Share of the samples of the state of the row that could as well be of that of the column.
    frames, independent : numpy.ndarray, (n_states,) int64
        Samples given, and those that were used: from equilibration on, one for each correlation time. With slow
        coordinates all are used, and this is what they are worth, told by the slowest.
    effective : numpy.ndarray, (n_states,) float64
        How many samples of its own each state's average is worth, all others counted in.
    names : tuple of str
        Of the states.
    notes : tuple of str
        What to know of the result.
    """

    differences: np.ndarray
    errors: np.ndarray
    bar: np.ndarray
    bar_errors: np.ndarray
    overlap: np.ndarray
    frames: np.ndarray
    independent: np.ndarray
    effective: np.ndarray
    names: tuple[str, ...]
    notes: tuple[str, ...]

    def between(self, first: int = 0, last: int = -1, temperature: Any = None) -> tuple[float, float]:
        """Free energy of a state less that of another, and its standard error, by MBAR.

        Parameters
        ----------
        first, last : int
            Numbers of the states.
        temperature : Quantity or float, optional
            Of both, in K, for kJ/mol; in units of RT without it.

        Returns
        -------
        tuple of float
        """
        factor = _factor(temperature)
        return float(self.differences[first, last]) * factor, float(self.errors[first, last]) * factor

    def by_bar(self, temperature: Any = None) -> tuple[float, float]:
        """Free energy of the last sampled state less that of the first, and its standard error, by BAR step by step.

        Parameters
        ----------
        temperature : Quantity or float, optional
            Of all, in K, for kJ/mol; in units of RT without it.

        Returns
        -------
        tuple of float
        """
        factor = _factor(temperature)
        return float(self.bar.sum()) * factor, float(np.linalg.norm(self.bar_errors)) * factor

    def describe(self, temperature: Any = None) -> str:
        """A table of states with free energies from the first, frames, independent and effective samples; then notes.

        Parameters
        ----------
        temperature : Quantity or float, optional
            Of all, in K, for kJ/mol; in units of RT without it.

        Returns
        -------
        str
        """
        factor, name = _factor(temperature), "RT" if temperature is None else "kJ/mol"
        lines = [f"{'state':>12} {f'free energy, {name}':>20} {'error':>8} {'frames':>7} {'indep.':>7} {'effect.':>8}"]
        rows = zip(self.names, self.differences[0], self.errors[0], self.frames, self.independent, self.effective,
                   strict=True)  # fmt: skip
        for state, value, error, frames, independent, effective in rows:
            lines.append(
                f"{state:>12} {value * factor:>20.3f} {error * factor:>8.3f} {frames:>7d} {independent:>7d} "
                f"{effective:>8.0f}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _factor(temperature: Any) -> float:
    if temperature is None:
        return 1.0
    import openmm.unit as unit

    value = temperature.value_in_unit(unit.kelvin) if unit.is_quantity(temperature) else temperature
    return GAS_CONSTANT * float(value)


def estimate(
    reduced: np.ndarray,
    counts: Sequence[int],
    names: Sequence[Any] | None = None,
    decorrelate: bool = True,
    slow: np.ndarray | None = None,
) -> FreeEnergies:
    """Free energy differences from reduced potentials.

    Parameters
    ----------
    reduced : numpy.ndarray, (n_states, n_frames) float64
        Of every frame in every state (:func:`reduced_potentials`), the frames of the first state first, each state's in
        the order of time.
    counts : sequence of int
        Frames that each state sampled; 0 for states that are only to be predicted.
    names : sequence, optional
        Of the states, such as their λ; for messages and pictures.
    decorrelate : bool
        Whether to leave out what is before equilibration and what is correlated, told by the difference of the reduced
        potentials of a state and the next, as the field does. False for samples that are independent.
    slow : numpy.ndarray, (n_slow, n_frames) float64, optional
        Coordinates of the frames that change more seldom than these differences and matter for the answer, such as the
        cosine and sine of a torsion. All frames are then used, so leave out yourself what is not equilibrated, and
        errors are a jackknife's: 5 to 20 parts of each run are left out one after the other, each worth three
        independent samples of the slowest coordinate where the run allows it. What never changed is in no error.

    Returns
    -------
    FreeEnergies

    Raises
    ------
    ValueError
        If the table or a slow coordinate is empty or not finite, counts do not fit it, a state has too few frames, or
        slow coordinates are given for samples that are said to be independent.
    OverlapError
        If sampled states share no samples with the others; says which.

    References
    ----------
    MBAR: M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008). BAR: C. H. Bennett, J. Comput. Phys. 22,
    245 (1976). Equilibration: J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016). All by pymbar. Jackknife of
    correlated series: H. R. Künsch, Ann. Stat. 17, 1217 (1989).
    """
    table, frames, labels = _checked(reduced, counts, names)
    sampled = np.flatnonzero(frames)
    if slow is None:
        kept = _independent(table, frames, sampled) if decorrelate else [np.arange(n) for n in frames]
        starts = np.concatenate([[0], np.cumsum(frames)[:-1]])
        used = independent = np.array([len(each) for each in kept])
        table = table[:, np.concatenate([start + each for start, each in zip(starts, kept, strict=True)])]
    else:
        used, independent = frames, _lasting(table, frames, sampled, _checked_slow(slow, table.shape[1], decorrelate))
    with solving(_CURE):
        found = _solved(table, used, sampled)
        overlap = found.mbar.compute_overlap()["matrix"]
        notes = check_overlap(overlap[np.ix_(sampled, sampled)], [labels[k] for k in sampled], "states", _CURE)
        effective = found.mbar.compute_effective_sample_number()
        errors, bar_errors = found.errors, found.bar_errors
        if slow is not None:
            errors, bar_errors = _by_parts(table, used, sampled, int(independent[sampled].min() / _PART))
    few = [f"{labels[k]} ({independent[k]})" for k in sampled if independent[k] < FEWEST_SAMPLES]
    if few:
        notes.append(f"fewer than {FEWEST_SAMPLES} independent samples: {', '.join(few)}; errors are rough, run longer")
    return FreeEnergies(
        found.differences, errors, found.bar, bar_errors, overlap, frames, independent, effective, labels, tuple(notes)
    )


class _Solution(NamedTuple):
    """What pymbar finds: the fields of the same name of :class:`FreeEnergies`."""

    mbar: Any
    differences: np.ndarray
    errors: np.ndarray
    bar: np.ndarray
    bar_errors: np.ndarray


def _solved(table: np.ndarray, used: np.ndarray, sampled: np.ndarray) -> _Solution:
    """MBAR and BAR of a table (n_states, n_frames)."""
    pymbar = quiet_pymbar()
    offsets = _offsets(table, used, sampled)
    # Absolute energies of a model are ten thousands of RT from the force field's; solvers start from zero.
    mbar = pymbar.MBAR(table - offsets[:, None] - table[sampled[0]], used, solver_protocol=SOLVERS)
    found = mbar.compute_free_energy_differences()
    differences = found["Delta_f"] + offsets - offsets[:, None]
    return _Solution(mbar, differences, found["dDelta_f"], *_neighbours(pymbar, table, used, sampled))


def _by_parts(table: np.ndarray, used: np.ndarray, sampled: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of differences (n_states, n_states) and of BAR (n_sampled - 1,): a jackknife over parts of each run."""
    parts = min(max(parts, _FEWEST_PARTS), _MOST_PARTS)
    part_of = np.concatenate([np.arange(count) * parts // max(count, 1) for count in used])
    state_of = np.repeat(np.arange(len(used)), used)
    found = []
    for part in range(parts):
        kept = part_of != part
        found.append(_solved(table[:, kept], np.bincount(state_of[kept], minlength=len(used)), sampled))
    spreads = [np.std([getattr(each, name) for each in found], axis=0) for name in ("differences", "bar")]
    return spreads[0] * np.sqrt(parts - 1), spreads[1] * np.sqrt(parts - 1)


def _checked(
    reduced: np.ndarray, counts: Sequence[int], names: Sequence[Any] | None
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The table (n_states, n_frames), counts (n_states,) and names, if they fit together."""
    table, frames = np.asarray(reduced, dtype=np.float64), np.asarray(counts)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"the reduced potentials have the shape {table.shape}; expected (states, frames), not empty")
    if frames.shape != table.shape[:1] or not np.issubdtype(frames.dtype, np.integer) or (frames < 0).any():
        raise ValueError(f"counts={counts!r}; give the number of frames of each of the {len(table)} states")
    if frames.sum() != table.shape[1]:
        raise ValueError(f"counts={counts!r} add up to {frames.sum()}, and the table has {table.shape[1]} frames")
    labels = tuple(map(str, range(len(table)) if names is None else names))
    if len(labels) != len(table):
        raise ValueError(f"{len(labels)} names were given for {len(table)} states; give one for each")
    if not np.isfinite(table).all():
        state, frame = np.argwhere(~np.isfinite(table))[0]
        raise ValueError(f"frame {frame} has the reduced potential {table[state, frame]} in the state {labels[state]}")
    if (frames > 0).sum() < 2:
        raise ValueError("only one state was sampled; differences need samples of two or more")
    for label, count in zip(labels, frames, strict=True):
        if 0 < count < FEWEST_FRAMES:
            raise ValueError(f"the state {label} has {count} frames; give {FEWEST_FRAMES} or more, or 0 to predict it")
    return table, frames.astype(np.int64), labels


def _checked_slow(slow: np.ndarray, count: int, decorrelate: bool) -> np.ndarray:
    """Slow coordinates (n_slow, n_frames), if they fit the table."""
    if not decorrelate:
        raise ValueError("slow coordinates tell what is correlated, and decorrelate=False says nothing is; give one")
    values = np.asarray(slow, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] != count:
        raise ValueError(f"slow has the shape {values.shape}; expected (coordinates, {count}), a value for each frame")
    if not np.isfinite(values).all():
        row, frame = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(f"frame {frame} has the value {values[row, frame]} in the slow coordinate {row}")
    return values


def _own_differences(table: np.ndarray, frames: np.ndarray, sampled: np.ndarray) -> Iterator[tuple[int, slice, Any]]:
    """Of each sampled state its number, its frames, and their difference (n,) to the next."""
    ends = np.cumsum(frames)
    for place, state in enumerate(sampled):
        own = slice(ends[state] - frames[state], ends[state])
        other = sampled[place + 1] if place + 1 < len(sampled) else sampled[place - 1]
        yield state, own, table[other, own] - table[state, own]


def _lasting(table: np.ndarray, frames: np.ndarray, sampled: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """What the frames of each state are worth in independent samples (n_states,), told by the slowest coordinate."""
    found = np.zeros(len(frames), dtype=np.int64)
    for state, own, difference in _own_differences(table, frames, sampled):
        found[state] = frames[state] / slowest_inefficiency(np.vstack([difference, slow[:, own]]))
    return found


def _independent(table: np.ndarray, frames: np.ndarray, sampled: np.ndarray) -> list[np.ndarray]:
    """Frames (n_used,) of each state that are equilibrated and independent, from a table (n_states, n_frames)."""
    kept = [np.zeros(0, dtype=np.int64) for _ in frames]
    for state, _, difference in _own_differences(table, frames, sampled):
        kept[state] = independent_samples(difference)
    return kept


def _offsets(table: np.ndarray, used: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """Rough free energies (n_states,) from a table (n_states, n_frames): means of differences over both neighbours."""
    ends = np.cumsum(used)
    offsets = (table - table[sampled[0]]).mean(axis=1)
    offsets[sampled[0]] = 0.0
    for a, b in zip(sampled[:-1], sampled[1:], strict=True):
        step = table[b] - table[a]
        offsets[b] = offsets[a] + 0.5 * sum(float(step[ends[k] - used[k] : ends[k]].mean()) for k in (a, b))
    return offsets


def _neighbours(pymbar: Any, table: np.ndarray, used: np.ndarray, sampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences (n_sampled - 1,) by BAR between neighbouring sampled states, from a table (n_states, n_frames)."""
    ends = np.cumsum(used)
    values = []
    for a, b in zip(sampled[:-1], sampled[1:], strict=True):
        step = table[b] - table[a]
        found = pymbar.other_estimators.bar(step[ends[a] - used[a] : ends[a]], -step[ends[b] - used[b] : ends[b]])
        values.append((found["Delta_f"], found["dDelta_f"]))
    return tuple(np.array(values, dtype=np.float64).T)  # type: ignore[return-value]
