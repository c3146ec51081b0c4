"""Means of correlated series, with errors that mean something."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

#: Of longer series every so-many-th start is tried, so that detection takes a moment at any length.
_STARTS = 200
#: Independent samples below which a mean is called one of too short a run.
FEWEST_INDEPENDENT = 10


class Mean(NamedTuple):
    """A mean over the equilibrated end of a series."""

    mean: float
    std: float  #: standard deviation of the values: how much they fluctuate
    error: float  #: standard error of the mean, from the independent samples
    samples: float  #: number of independent samples
    start: int  #: first value that counts

    def with_samples(self, samples: float) -> Mean:
        """The same values, of which so many are independent."""
        return self._replace(samples=samples, error=self.std / float(np.sqrt(samples)))

    @property
    def error_part(self) -> float:
        """The error as a part of the mean."""
        return self.error / abs(self.mean) if self.mean else float("inf")


def mean_of(series: np.ndarray, discard: bool = True) -> Mean:
    """The mean of a series that may begin out of equilibrium and whose values are correlated.

    Parameters
    ----------
    series : numpy.ndarray, (n,) float64
        At equal intervals; n > 0.
    discard : bool
        Whether to leave out the beginning that makes the mean worse.

    Returns
    -------
    Mean

    References
    ----------
    J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), by pymbar's ``timeseries.detect_equilibration`` and
    ``statistical_inefficiency``.
    """
    series = np.asarray(series, dtype=np.float64)
    if _is_constant(series):
        return Mean(float(series.mean()), 0.0, 0.0, float(len(series)), 0)
    if len(series) < 3:  # too few to say anything
        std = float(series.std())
        return Mean(float(series.mean()), std, std, 1.0, 0)
    timeseries = quiet_pymbar().timeseries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if discard:
            start, inefficiency, _ = timeseries.detect_equilibration(series, nskip=max(1, len(series) // _STARTS))
        else:
            start, inefficiency = 0, timeseries.statistical_inefficiency(series)
    kept = series[int(start) :]
    samples = max(len(kept) / float(inefficiency), 1.0)
    return Mean(float(kept.mean()), float(kept.std()), float(kept.std() / np.sqrt(samples)), samples, int(start))


def independent_samples(series: np.ndarray) -> np.ndarray:
    """Which values of a correlated series count: from equilibration on, one for each correlation time.

    Parameters
    ----------
    series : numpy.ndarray, (n,) float64
        At equal intervals; n > 0.

    Returns
    -------
    numpy.ndarray, (n_independent,) int64
        Places, rising.

    References
    ----------
    J. D. Chodera, J. Chem. Theory Comput. 12, 1799 (2016), by pymbar's ``timeseries``.
    """
    series = np.asarray(series, dtype=np.float64)
    if len(series) < 3 or _is_constant(series):
        return np.arange(len(series))
    timeseries = quiet_pymbar().timeseries
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start, inefficiency, _ = timeseries.detect_equilibration(series, nskip=max(1, len(series) // _STARTS))
        chosen = timeseries.subsample_correlated_data(series[int(start) :], g=float(inefficiency))
    return int(start) + np.asarray(list(chosen), dtype=np.int64)


def slowest_inefficiency(series: np.ndarray) -> float:
    """How many values of the slowest of several series are worth one that is independent.

    Parameters
    ----------
    series : numpy.ndarray, (n_series, n) float64
        At equal intervals, in equilibrium. Series that never change say nothing.

    Returns
    -------
    float
        1 or more.

    References
    ----------
    J. D. Chodera et al., J. Chem. Theory Comput. 3, 26 (2007), by pymbar's ``timeseries.statistical_inefficiency``.
    """
    found = [1.0]
    for each in np.asarray(series, dtype=np.float64):
        if len(each) >= 3 and not _is_constant(each):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found.append(float(quiet_pymbar().timeseries.statistical_inefficiency(each)))
    return max(found)


def _is_constant(series: np.ndarray) -> bool:
    """Whether a series (n,) does not change at all."""
    return float(np.ptp(series)) <= 1e-12 * max(abs(float(series[0])), 1e-300)


@contextlib.contextmanager
def without_its_words() -> Iterator[None]:
    """Neither warnings nor pymbar's log, which tells of every solver that it tries before one succeeds."""
    logger = logging.getLogger("pymbar")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def quiet_pymbar() -> Any:
    """pymbar with its ``timeseries``, without what it says when it is imported."""
    with without_its_words():
        import pymbar
        import pymbar.timeseries
    return pymbar
