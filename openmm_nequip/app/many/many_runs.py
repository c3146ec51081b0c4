"""All runs of a table: handed out, watched with one progress bar, gathered."""

from __future__ import annotations

import contextlib
import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cache import write_atomically
from ...choices import GPU_PLATFORMS
from ...files import folder_obstacle
from ...progress import progress_bar
from ..answer import FAILED, OK, SUSPICIOUS
from ..run.run_config import RunConfig
from ..run.run_folder import RunFolder
from .one_run import run_here
from .run_table import RunTable
from .workers import client_of, local_workers

_POLL_S = 1.0
_COLUMNS = ("name", "code", "attempts", "steps", "time_ps", "ns_per_day", "temperature_K", "suspicions", "error")


def run_many(table: RunTable) -> list[dict[str, Any]]:
    """Run everything that is not done yet.

    Parameters
    ----------
    table : RunTable
        What is to be run. Folders of an earlier call are gone on with.

    Returns
    -------
    list of dict
        For each run, in the order of the table, what :func:`.one_run.run_here` gives. Also written into the output
        folder: ``many.csv``, ``many.json``.

    Raises
    ------
    ValueError
        If the output folder cannot be made.
    UnavailableError
        If there are no workers to be had.
    """
    reason = folder_obstacle(table.output)
    if reason:
        raise ValueError(f"output folder {table.output} {reason}")
    try:
        table.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output folder {table.output} cannot be made: {error.strerror or error}") from error
    gpus = _gpus(table)
    share = max(1, (os.cpu_count() or 1) // local_workers(table, gpus)) if table.scheduler == "local" else None
    results: dict[str, dict[str, Any]] = {}
    with client_of(table, gpus) as client:
        waiting = {}
        for name, config in table.runs.items():
            shared = replace(config, threads=config.threads or share)
            future = client.submit(run_here, name, shared.to_toml(), str(config.output), key=f"run-{name}", pure=False)
            waiting[future] = name
        with progress_bar(total=sum(config.steps for config in table.runs.values()), unit="step") as bar:
            while waiting:
                _wait(list(waiting))
                for future in [each for each in waiting if each.done()]:
                    name = waiting.pop(future)
                    results[name] = _outcome(future, name, table.runs[name])
                bar.n = sum(_steps_done(config) for config in table.runs.values())
                bar.set_postfix_str(f"{len(results)} of {len(table.runs)} runs")
    ordered = [results[name] for name in table.runs]
    _write(table.output, ordered)
    return ordered


def _gpus(table: RunTable) -> int:
    """GPUs of this machine, where runs ask for them; 0 else."""
    on_gpus = [name.lower() for name in GPU_PLATFORMS]
    wanted = any(
        (config.device or "").startswith("cuda") or (config.platform or "").lower() in on_gpus
        for config in table.runs.values()
    )
    if not wanted:
        return 0
    import torch

    return torch.cuda.device_count()


def _wait(futures: list[Any]) -> None:
    from distributed import wait

    with contextlib.suppress(TimeoutError):
        wait(futures, timeout=_POLL_S, return_when="FIRST_COMPLETED")


def _outcome(future: Any, name: str, config: RunConfig) -> dict[str, Any]:
    """What a worker returned, or why it did not: one run that fails takes no other down."""
    error = future.exception()
    if error is None:
        return future.result()
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return {"name": name, "folder": config.output, "code": FAILED, "attempts": 0, "error": text}


def _steps_done(config: RunConfig) -> int:
    with contextlib.suppress(OSError, ValueError):
        return min(RunFolder(config.output or "").steps_done(), config.steps)
    return 0


def code_of(results: list[dict[str, Any]]) -> int:
    """Exit code: 1 if a run failed, 3 if one is not to be trusted."""
    codes = {result["code"] for result in results}
    return OK if codes <= {OK} else SUSPICIOUS if codes <= {OK, SUSPICIOUS} else FAILED


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """A row of the table of results."""
    summary = result.get("summary", {})
    temperature = summary.get("averages", {}).get("temperature_K", {})
    return {
        "name": result["name"], "code": result["code"], "attempts": result["attempts"],
        "steps": summary.get("steps", ""), "time_ps": summary.get("time_ps", ""),
        "ns_per_day": summary.get("ns_per_day", ""), "temperature_K": temperature.get("mean", ""),
        "suspicions": len(summary.get("suspicions", ())), "error": result["error"],
    }  # fmt: skip


def _write(output: Path, results: list[dict[str, Any]]) -> None:
    write_atomically(output / "many.json", (json.dumps(results, indent=2) + "\n").encode())
    with open(output / "many.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(row_of(result) for result in results)
