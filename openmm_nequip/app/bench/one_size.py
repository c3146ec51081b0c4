"""One size: everyone is set up, compared with the others, and then timed in turn."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...models import ModelInfo
from .agreement import compare
from .bench_report import make_row
from .bench_settings import BenchSettings
from .bench_systems import BenchSystem, build_system
from .calm import measure_calmly
from .contenders import LIMIT, OURS, PEER, Contender, Subject, empty
from .figures import timed
from .limits import Limits, Usage, watched
from .runners import FixedGraph, ListRunner, Result, Runner

logger = logging.getLogger(__name__)

#: Beyond so many atoms, someone of whom nothing is known yet is first tried on a small system.
TRY_FIRST_ABOVE = 1000
TRY_WITH = 192
#: Steps before the one whose time decides how many fit into a sample.
WARM_UP = 2
WARM_UP_S = 0.5


def reason_of(error: BaseException, subject: Subject) -> str:
    """The first line of an error, with the model's file by its name: figures are shown to others, paths need not be.

    Parameters
    ----------
    error : BaseException
        Why something cannot be measured.
    subject : Subject
        The model.

    Returns
    -------
    str
    """
    lines = str(error).strip().splitlines()
    return lines[0].replace(subject.source.path, Path(subject.source.path).name) if lines else type(error).__name__


class _Ready:
    """Runners that were set up for one size."""

    def __init__(self) -> None:
        self.runners: dict[str, Runner] = {}
        self.seconds: dict[str, float] = {}
        self.results: dict[str, Result] = {}
        self.growth: dict[str, int | None] = {}
        self.left_out: dict[str, str] = {}

    def drop(self, name: str, reason: str) -> None:
        """Leave someone out after all."""
        self.runners.pop(name, None)
        self.seconds.pop(name, None)
        self.left_out[name] = reason


def measure_size(
    subject: Subject,
    info: ModelInfo,
    contenders: list[Contender],
    bench: BenchSystem,
    limits: Limits,
    settings: BenchSettings,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Measure everyone on one system.

    Parameters
    ----------
    subject : Subject
        The model.
    info : ModelInfo
        Facts about it.
    contenders : list of Contender
        Everyone.
    bench : BenchSystem
        The system.
    limits : Limits
        What is known of time and memory; learns.
    settings : BenchSettings
        Repeats and budget.
    stop : callable
        Whether to end early.

    Returns
    -------
    dict
        JSON-ready: the system, who agrees with whom, a row for each who was timed, and who was left out and why.
    """
    ready = _Ready()
    for contender in contenders:
        if stop():
            break
        _set_up(contender, subject, bench, limits, ready)
    agreement = _agree(contenders, ready, info, subject)
    parts = _parts(subject, contenders, bench, ready)
    seconds = dict(ready.seconds)
    for name, runner in parts.items():
        runner.advance(WARM_UP)
        seconds[name] = timed(lambda runner=runner: runner.advance(1))  # type: ignore[misc]
    title = f"{bench.n_atoms} atoms"
    names = {each.name: _names(each, contenders) for each in contenders}
    inside = {
        each.name: [name for name in names[each.name].values() if name is not None]
        for each in contenders if each.role == OURS
    }  # fmt: skip
    plan = settings.repeats, settings.budget
    figures, given_up, load = measure_calmly(ready.runners | parts, seconds, plan, stop, title, inside)
    for name, reason in given_up.items():
        ready.left_out[name] = reason.replace(subject.source.path, Path(subject.source.path).name)
    own = [figures[each.name] for each in contenders if each.role == OURS and each.name in figures]
    graphs = [runner.n_edges for runner in ready.runners.values() if isinstance(runner, FixedGraph)]
    return {
        "atoms": bench.n_atoms,
        "title": bench.title,
        "periodic": bench.box_nm is not None,
        "edges": graphs[0] if graphs else None,
        "agreement": agreement,
        "parts": {name: figures[name].as_json() for name in parts if name in figures},
        "rows": [
            make_row(
                each,
                figures,
                bench.n_atoms,
                names[each.name],
                min(own, key=lambda figure: figure.median_ms, default=None),
            )
            for each in contenders
            if each.name in figures
        ],
        "load": load,
        "memory_growth_bytes": ready.growth,
        "left_out": [{"name": name, "reason": reason} for name, reason in ready.left_out.items()],
    }


def _set_up(contender: Contender, subject: Subject, bench: BenchSystem, limits: Limits, ready: _Ready) -> None:
    """Make a contender's runner, take its result and find out how long a step takes."""
    name = contender.name
    try:
        if bench.n_atoms > TRY_FIRST_ABOVE and not limits.knows(name):
            _try(contender, build_system(sorted(set(bench.symbols)), TRY_WITH), limits)
        reason = limits.refusal(name, bench.n_atoms, contender.device)
        if reason:
            ready.drop(name, reason)
            return
        runner, result, used = _try(contender, bench, limits)
    except Exception as error:  # a peer that is missing, too old or out of memory is reported, whatever it raises
        logger.debug("%s cannot be measured", name, exc_info=True)
        ready.drop(name, reason_of(error, subject))
        return
    ready.growth[name] = used.memory
    if result is not None:
        ready.results[name] = result
    if limits.too_slow(used.seconds):
        ready.drop(name, limits.explain_slow(used.seconds))
        return
    ready.runners[name], ready.seconds[name] = runner, used.seconds


def _try(contender: Contender, bench: BenchSystem, limits: Limits) -> tuple[Runner, Result | None, Usage]:
    """A contender on a system: its runner, its result, and what it took."""
    with watched(contender.device) as growth, warnings.catch_warnings():
        if contender.role == PEER:
            warnings.simplefilter("ignore")  # about their own future
        runner = contender.prepare(bench)
        result = runner.evaluate()
        seconds = timed(lambda: runner.advance(1))
        if seconds < WARM_UP_S:
            runner.advance(WARM_UP)
            seconds = timed(lambda: runner.advance(1))
    # A molecule in vacuum has fewer neighbours and tells nothing about the next size.
    used = Usage(bench.n_atoms, seconds, growth.bytes)
    if bench.box_nm is not None:
        limits.learn(contender.name, used)
    return runner, result, used


def _agree(contenders: list[Contender], ready: _Ready, info: ModelInfo, subject: Subject) -> dict[str, Any]:
    """Compare everyone's energy and forces, and leave out who is alone with theirs."""
    # nequip's own code is the measure where it runs, the generated kernels the last resort.
    order = sorted(
        (each for each in contenders if each.name in ready.results),
        key=lambda each: (each.role != PEER, each.variant == "fused", each.role != LIMIT),
    )
    results = {each.name: ready.results[each.name] for each in order}
    comparisons = compare(results, info, subject.units)
    reference = next(iter(results), None)
    for row in comparisons:
        if not row.agrees:
            ready.drop(row.name, row.explain(str(reference)))
            logger.warning("%s %s", row.name, row.explain(str(reference)))
    return {
        "reference": reference,
        "comparisons": [row.as_json() for row in comparisons],
        "disagreements": [row.name for row in comparisons if not row.agrees],
    }


def _parts(
    subject: Subject,
    contenders: list[Contender],
    bench: BenchSystem,
    ready: _Ready,
) -> dict[str, Runner]:
    """What the steps of this package are made of, besides the model: OpenMM's own work, and the neighbour list."""
    measured = [each for each in contenders if each.role == OURS and each.name in ready.runners]
    parts: dict[str, Runner] = {}
    for platform in dict.fromkeys(each.platform for each in measured if each.platform is not None):
        parts[mm_name(platform)] = empty(subject, platform)(bench)
    variants = ((each.variant, each.device) for each in measured if each.variant is not None)
    for variant, device in dict.fromkeys(variants):
        model = subject.model_in_steps(variant, device, bench.n_atoms)
        parts[list_name(variant, device)] = ListRunner(bench, model, subject.units)
    return parts


def mm_name(platform: str) -> str:
    """Name of the figure of OpenMM's own work on a platform."""
    return f"OpenMM without the model, {platform}"


def list_name(variant: str, device: str) -> str:
    """Name of the figure of the neighbour list that a model gets.

    Parameters
    ----------
    variant : str
        How the model runs, of :data:`openmm_nequip.app.bench.bench_settings.VARIANTS`.
    device : str
        Torch device.

    Returns
    -------
    str
    """
    return f"neighbour list, kernels={variant} on {device}"


def _names(contender: Contender, contenders: list[Contender]) -> dict[str, str | None]:
    """Figures that belong to a contender: OpenMM's own work, the list, and the bare model that limits it."""
    limits = [
        each.name
        for each in contenders
        if each.role == LIMIT and (each.variant, each.device) == (contender.variant, contender.device)
    ]
    platform = contender.platform
    return {
        "mm": None if platform is None else mm_name(platform),
        "list": None if contender.variant is None else list_name(contender.variant, contender.device),
        "model": limits[0] if limits else None,
    }
