"""Interleaved timing: every candidate in turn, round after round, so that a noisy machine disturbs all alike."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from tqdm.auto import tqdm

from openmm_nequip.app.bench.figures import SETTLE_S


def interleaved(
    candidates: dict[str, Callable[[], object]],
    rounds: int,
    warmup: int = 5,
    block_ms: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Times of each candidate in ms, one a round.

    Parameters
    ----------
    candidates : dict of str to callable
        What to time.
    rounds : int
        How often.
    warmup : int
        Calls of each before timing starts.
    block_ms : float
        In each round a candidate is called again and again for about this long, as a simulation does, and the mean of
        these calls counts, after ``SETTLE_S`` of calls that do not count; once by default.
    clock : callable
        Seconds; ``time.thread_time`` for what runs on one thread, which then may share its core with others.
    """
    for call in candidates.values():
        for _ in range(warmup):
            call()
    times: dict[str, list[float]] = {name: [] for name in candidates}
    calls = dict.fromkeys(candidates, 1)
    if block_ms > 0:
        for name, call in candidates.items():
            start = clock()
            call()
            calls[name] = max(1, round(block_ms / ((clock() - start) * 1e3)))
    for _ in tqdm(range(rounds), desc="timing", leave=False, disable=None):
        for name, call in candidates.items():
            if calls[name] > 1:
                ready = time.perf_counter() + SETTLE_S
                while time.perf_counter() < ready:
                    call()
            start = clock()
            for _ in range(calls[name]):
                call()
            times[name].append((clock() - start) * 1e3 / calls[name])
    return {name: np.array(values) for name, values in times.items()}


def environment() -> dict[str, object]:
    """Date, device and versions that belong beside every figure."""
    found: dict[str, object] = {"date": date.today().isoformat(), "cpu": _cpu(), "threads": torch.get_num_threads()}
    for name in ("torch", "openmm", "nequip", "openmmml", "vesin"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def report(title: str, times: dict[str, np.ndarray], base: str, as_json: bool) -> dict[str, object]:
    """Print medians and the median of the round-by-round ratio to ``base``."""
    rows = {
        name: {"median_ms": float(np.median(values)), "ratio": float(np.median(values / times[base]))}
        for name, values in times.items()
    }
    if not as_json:
        print(f"\n{title}\n{'':44s}   median ms   ratio to '{base}'")
        for name, row in rows.items():
            print(f"{name:44s} {row['median_ms']:11.3f} {row['ratio']:12.3f}")
    return {"title": title, "base": base, "rows": rows}


def finish(results: list[dict[str, object]], as_json: bool) -> None:
    """Print the environment, or everything as one JSON document."""
    facts = environment()
    print(json.dumps({"environment": facts, "results": results}, indent=1) if as_json else f"\n{facts}")
