"""The deviation of a committee on frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import openmm.app as app

from ...models import CommitteePath
from ...models.units_in_force import log_units, units_of
from ...progress import progress_bar
from ...units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, resolve_units
from ..accuracy.frame_answers import FrameEvaluator, load_for_frames
from ..accuracy.labelled_frames import LabelledFrame
from ..structures.structure_files import Structure, topology_of
from .candidate import Candidate


def with_deviations(
    candidates: Sequence[Candidate], paths: Sequence[str], units: Sequence[str] | None,
    types: Sequence[int | str] | None, how: Sequence[Any],
) -> list[Candidate]:  # fmt: skip
    """Candidates with what a committee says of them, in place of what was known.

    Parameters
    ----------
    candidates : sequence of Candidate
        Frames.
    paths : sequence of str
        Model files, two or more.
    units : sequence of str, optional
        Their units of length and energy.
    types : sequence of int or str, optional
        Model type of each atom; by element if not given.
    how : sequence
        Torch device or None, and fused kernels: as of :func:`.frame_answers.load_for_frames`.

    Returns
    -------
    list of Candidate
        Their deviation is the largest standard deviation of a force over their atoms, eV/Å; see
        :mod:`openmm_nequip.evaluate.spread`.

    Raises
    ------
    CommitteeError
        If there are fewer than two models, or they are of different types or units.
    ModelFileError
        If one cannot be read.
    """
    given = tuple(units) if units else (None, None)
    resolve_units(*given)
    path = CommitteePath(paths)
    device, kernels = how
    model = load_for_frames(path, device, False, None, kernels)
    found = units_of(model.info, *given)
    log_units(str(path), found, model.info)
    evaluate = FrameEvaluator(model, found, types)
    topologies: dict[tuple[str, ...], app.Topology] = {}
    deviations = []
    for candidate in progress_bar(candidates, desc="committee", leave=False):
        symbols = candidate.symbols
        if symbols not in topologies:
            names = [symbol or "X" for symbol in symbols]
            topologies[symbols] = topology_of(names, candidate.positions_nm, candidate.box_nm)
        place = candidate.positions_nm, candidate.box_nm, candidate.open_directions
        structure = Structure(candidate.source, topologies[symbols], *place)
        spread: Any = evaluate(LabelledFrame(candidate.frame, structure, None, None, None, {})).forces_spread
        deviations.append(float(spread.max()) / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM)
    return [replace(each, deviation=value) for each, value in zip(candidates, deviations, strict=True)]
