"""The deviation of a committee on frames, from single points of its models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openmm.app as app

from ...errors import ModelFileError, UsageError
from ...evaluate.spread import force_spread
from ...models import Model
from ...models.units_in_force import log_units, units_of
from ...progress import progress_bar
from ...units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, resolve_units
from ..accuracy.frame_answers import FrameEvaluator, load_for_frames
from ..accuracy.labelled_frames import LabelledFrame
from ..structures.structure_files import Structure, topology_of
from .candidate import Candidate


class Committee:
    """Models that answer for the same frames.

    Parameters
    ----------
    paths : sequence of str
        Model files, two or more.
    units : sequence of str, optional
        Their units of length and energy.
    types : sequence of int or str, optional
        Model type of each atom; by element if not given.
    how : sequence
        Torch device or None, and fused kernels: as of :func:`.frame_answers.load_for_frames`.

    Raises
    ------
    UsageError
        If there are fewer than two.
    ModelFileError
        If they know different types, or one cannot be read.
    """

    def __init__(
        self, paths: Sequence[str], units: Sequence[str] | None, types: Sequence[int | str] | None, how: Sequence[Any]
    ) -> None:
        if len(paths) < 2:
            raise UsageError(f"--committee {' '.join(paths)}: one model agrees with itself; give two or more")
        given = tuple(units) if units else (None, None)
        resolve_units(*given)
        device, kernels = how
        models = [load_for_frames(path, device, False, None, kernels) for path in paths]
        check_same_types(paths, models)
        self._evaluators = []
        for path, model in zip(paths, models, strict=True):
            found = units_of(model.info, *given)
            log_units(path, found, model.info)
            self._evaluators.append(FrameEvaluator(model, found, types))
        self._topologies: dict[tuple[str, ...], app.Topology] = {}

    def forces(self, candidate: Candidate) -> np.ndarray:
        """Forces of each model, (n_models, n_atoms, 3) float64, eV/Å."""
        symbols = candidate.symbols
        if symbols not in self._topologies:
            names = [symbol or "X" for symbol in symbols]
            self._topologies[symbols] = topology_of(names, candidate.positions_nm, candidate.box_nm)
        place = candidate.positions_nm, candidate.box_nm, candidate.open_directions
        structure = Structure(candidate.source, self._topologies[symbols], *place)
        frame = LabelledFrame(candidate.frame, structure, None, None, None, {})
        answers = [evaluate(frame).forces for evaluate in self._evaluators]
        return np.array(answers) / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM


def check_same_types(paths: Sequence[str], models: Sequence[Model]) -> None:
    """Refuse models of different types.

    Parameters
    ----------
    paths : sequence of str
        Their files.
    models : sequence of Model
        The models, in the same order.

    Raises
    ------
    ModelFileError
        With the types of two that differ.
    """
    first = set(models[0].info.type_names)
    for path, model in zip(paths[1:], models[1:], strict=True):
        if set(model.info.type_names) != first:
            raise ModelFileError(
                f"--committee: {path} knows the types {', '.join(model.info.type_names)} and {paths[0]} "
                f"{', '.join(models[0].info.type_names)}; a committee is of models of the same types",
                path,
            )


def deviation_of(forces: np.ndarray) -> float:
    """The model deviation of a frame: the largest standard deviation of a force over its atoms.

    Parameters
    ----------
    forces : numpy.ndarray, (n_models, n_atoms, 3) float64
        Any unit.

    Returns
    -------
    float
        In that unit.

    References
    ----------
    As :mod:`openmm_nequip.evaluate.spread`.
    """
    return float(force_spread(forces).max())


def with_deviations(candidates: Sequence[Candidate], committee: Committee) -> list[Candidate]:
    """Candidates with what a committee says of them, in place of what was known.

    Parameters
    ----------
    candidates : sequence of Candidate
        Frames.
    committee : Committee
        The models.

    Returns
    -------
    list of Candidate
    """
    bar = progress_bar(candidates, desc="committee", leave=False)
    return [replace(each, deviation=deviation_of(committee.forces(each))) for each in bar]
