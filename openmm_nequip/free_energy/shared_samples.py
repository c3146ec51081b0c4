"""What sampled states share: none may stand apart from the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np

from ..errors import OverlapError
from ..series import quiet_pymbar, without_its_words

#: States that share less than this of their samples say nothing about each other (P. Klimovich, M. Shirts and
#: D. Mobley, J. Comput. Aided Mol. Des. 29, 397 (2015)).
OVERLAP = 0.03

#: How pymbar looks for free energies. Its default goes on for 10,000 rounds where there is no overlap and so no answer.
SOLVERS = (
    {"method": "hybr", "continuation": True},
    {"method": "adaptive", "options": {"min_sc_iter": 0, "maxiter": 500}},
)


@contextlib.contextmanager
def solving(cure: str) -> Iterator[None]:
    """Around pymbar's estimates: without its words on the way, and with ours where it finds no answer.

    Parameters
    ----------
    cure : str
        What to do then.

    Raises
    ------
    OverlapError
        If the free energies do not converge.
    """
    no_answer = quiet_pymbar().utils.ParameterError
    with without_its_words():
        try:
            yield
        except no_answer as error:
            raise OverlapError(f"no overlap: the free energies do not converge ({error}); {cure}") from error


def check_overlap(overlap: np.ndarray, names: Sequence[str], what: str, cure: str) -> list[str]:
    """Notes on states that share too little; an error where they fall into groups.

    Parameters
    ----------
    overlap : numpy.ndarray, (n, n) float64
        Of sampled states.
    names : sequence of str
        Of the states.
    what : str
        What they are, in the plural.
    cure : str
        What to do where they share nothing.

    Returns
    -------
    list of str

    Raises
    ------
    OverlapError
        If some states share no samples with the others.
    """
    linked = (overlap + overlap.T) / 2 > OVERLAP
    reached, front = {0}, [0]
    while front:
        for other in np.flatnonzero(linked[front.pop()]):
            if int(other) not in reached:
                reached.add(int(other))
                front.append(int(other))
    if len(reached) < len(names):
        apart = [names[k] for k in range(len(names)) if k not in reached]
        near = [names[k] for k in sorted(reached)]
        raise OverlapError(
            f"no overlap: the {what} {', '.join(apart)} share less than {OVERLAP:.0%} of their samples with "
            f"{', '.join(near)}; {cure}",
            apart,
            near,
        )
    alone = [names[k] for k in range(len(names)) if len(names) > 1 and linked[k].sum() <= 1]
    return [f"{name} shares less than {OVERLAP:.0%} of its samples with any other" for name in alone]
