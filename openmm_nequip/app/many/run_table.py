"""A table of runs as a TOML file: what all share, single runs, and grids."""

from __future__ import annotations

import itertools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UnavailableError
from ...files import obstacle
from ..run.run_config import RunConfig, make_config

_KEYS = {"output", "workers", "scheduler", "queue", "common", "run", "grid"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
#: More runs than this are a slip of a grid.
MOST_RUNS = 100_000
SCHEDULERS = ("local", "slurm", "pbs")


@dataclass(frozen=True)
class RunTable:
    """What is to be run, and on what.

    Parameters
    ----------
    output : pathlib.Path
        Folder of the run folders.
    runs : dict of str to RunConfig
        By name, which is that of the folder as well.
    scheduler : str
        ``"local"``, ``"slurm"``, ``"pbs"``, or the address of one that is there.
    workers : int or None
        How many runs at a time; None for the scheduler's own number.
    queue : dict
        What a SLURM or PBS cluster is asked for, as dask-jobqueue names it.
    """

    output: Path
    runs: dict[str, RunConfig]
    scheduler: str
    workers: int | None
    queue: dict[str, Any]


def read_table(path: str | os.PathLike[str]) -> RunTable:
    """Read a table of runs.

    Parameters
    ----------
    path : str or os.PathLike
        TOML file; paths in it start at its folder.

    Returns
    -------
    RunTable

    Raises
    ------
    ValueError
        If the file is missing or no TOML, a key is unknown, a name is given twice, or a run's settings cannot be; with
        the name of the run.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    reason = obstacle(path)
    if reason:
        raise ValueError(f"config file {path} {reason}")
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config file {path} is no TOML: {error}") from error
    unknown = sorted(set(values) - _KEYS)
    if unknown:
        known = ", ".join(sorted(_KEYS))
        raise ValueError(f"config file {path} has the unknown key {unknown[0]!r}; the keys are {known}")
    folder = Path(path).resolve().parent
    output = values.get("output")
    if not isinstance(output, str) or not output.strip():
        raise ValueError(f"config file {path}: output={output!r}; name the folder for the run folders")
    common = _table(values, "common", path)
    chosen = {**_listed(values, path), **_grid(_table(values, "grid", path), path)}
    if not chosen:
        raise ValueError(f"config file {path} has no run; give [[run]] tables with a name each, or a [grid]")
    place = folder / output
    runs = {name: _settings(name, common | own, place, folder, path) for name, own in chosen.items()}
    return RunTable(place, runs, *_pool(values, path))


def _table(values: dict[str, Any], key: str, path: Any) -> dict[str, Any]:
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise ValueError(f"config file {path}: {key} must be a table, [{key}]")
    return found


def _listed(values: dict[str, Any], path: Any) -> dict[str, dict[str, Any]]:
    rows = values.get("run", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"config file {path}: run must be a list of tables, [[run]]")
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        name = row.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"config file {path}: run {number} has the name {name!r}; give one of letters, digits, . _ + and -"
            )
        if name in found:
            raise ValueError(f"config file {path}: two runs have the name {name!r}, which is that of their folder")
        found[name] = {key: value for key, value in row.items() if key != "name"}
    return found


def _grid(grid: dict[str, Any], path: Any) -> dict[str, dict[str, Any]]:
    """Every combination of the values of a grid, named by the places in its lists."""
    if not grid:
        return {}
    for key, choices in grid.items():
        if not isinstance(choices, list) or not choices:
            raise ValueError(f"config file {path}: grid {key} = {choices!r}; give a list of values")
    count = 1
    for choices in grid.values():
        count *= len(choices)
    if count > MOST_RUNS:
        raise ValueError(f"config file {path}: the grid has {count} runs, at most {MOST_RUNS} are taken")
    found = {}
    for places in itertools.product(*(range(len(choices)) for choices in grid.values())):
        pairs = list(zip(grid, places, strict=True))
        name = "_".join(f"{key}{place:0{len(str(len(grid[key]) - 1))}d}" for key, place in pairs)
        found[name] = {key: grid[key][place] for key, place in pairs}
    return found


def _settings(name: str, given: dict[str, Any], output: Path, folder: Path, path: Any) -> RunConfig:
    kinds = {key: facts.metadata for key, facts in RunConfig.__dataclass_fields__.items()}
    settings = {}
    for key, value in given.items():
        facts: Any = kinds.get(key.replace("-", "_"), {})
        if facts.get("kind") == "path" and isinstance(value, str) and not value.startswith("nequip.net:"):
            value = str(folder / value)
        settings[key] = value
    if "output" in settings:
        raise ValueError(f"config file {path}, run {name}: output is the folder of its name; leave it out")
    try:
        return make_config(settings, {"output": str(output / name)})
    except ValueError as error:
        raise ValueError(f"config file {path}, run {name}: {error}") from error


def _pool(values: dict[str, Any], path: Any) -> tuple[str, int | None, dict[str, Any]]:
    scheduler, workers = values.get("scheduler", "local"), values.get("workers")
    if not isinstance(scheduler, str) or (scheduler not in SCHEDULERS and "://" not in scheduler):
        raise ValueError(
            f"config file {path}: scheduler={scheduler!r}; give {', '.join(SCHEDULERS)} or an address such as "
            "tcp://host:8786"
        )
    if workers is not None and (not isinstance(workers, int) or isinstance(workers, bool) or workers < 1):
        raise ValueError(f"config file {path}: workers={workers!r}; give a number from 1 on")
    queue = _table(values, "queue", path)
    if queue and scheduler not in ("slurm", "pbs"):
        raise ValueError(f"config file {path}: [queue] belongs to scheduler = \"slurm\" or \"pbs\"")
    return scheduler, workers, queue


def need_dask() -> None:
    """Raise UnavailableError unless Dask is installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "many runs need Dask, which is not installed: pip install 'openmm-nequip[many]'"
        ) from error
