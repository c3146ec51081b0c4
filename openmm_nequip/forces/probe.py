"""Whether the installed openmmtorch works: the wrong pair with torch crashes the process, so another one finds out."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..cache import find, keep, key_of, shelf

_TIMEOUT_S = 300
_WORKER = Path(__file__).with_name("probe_worker.py")


@dataclass(frozen=True)
class PluginState:
    """What was found out about openmmtorch.

    Parameters
    ----------
    installed : bool
        Whether it is there at all.
    works : bool
        Whether a TorchForce computes.
    has_python_torch_force : bool
        Whether it has ``PythonTorchForce``.
    reason : str
        Why it does not work, with the cure; empty if it does.
    """

    installed: bool
    works: bool = False
    has_python_torch_force: bool = False
    reason: str = ""


def _versions() -> dict[str, str]:
    found = {"python": sys.version, "executable": sys.executable}
    for name in ("openmmtorch", "torch", "openmm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "of unknown version"
    return found


@lru_cache(maxsize=1)
def probe_plugin() -> PluginState:
    """Try a TorchForce in another process, once; the answer is kept in the cache folder for these versions."""
    if importlib.util.find_spec("openmmtorch") is None:
        return PluginState(
            installed=False,
            reason="openmmtorch is not installed; install it with `pip install torch==2.9.1 openmmtorch==1.5` or "
            "`conda install openmm-torch`, or use backend='PythonForce'",
        )
    versions = _versions()
    try:
        folder, key = shelf("plugins"), f"openmmtorch-{key_of(versions)}"
        kept = find(folder, key, ".json")
        if kept is not None:
            return PluginState(**json.loads(kept[1]))
    except (OSError, ValueError, TypeError):
        folder = None
    state = _run_probe(versions)
    if folder is not None:
        try:
            keep(folder, key, ".json", json.dumps(asdict(state)).encode())
        except OSError:
            pass  # the answer holds for this process even where it cannot be kept
    return state


def _run_probe(versions: dict[str, str]) -> PluginState:
    try:
        command = [sys.executable, str(_WORKER)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        code, error, output = done.returncode, done.stderr, done.stdout
    except subprocess.TimeoutExpired:
        code, error, output = -1, f"no answer in {_TIMEOUT_S} s", ""
    if code == 0:
        found = json.loads(output.splitlines()[-1])
        return PluginState(installed=True, works=True, has_python_torch_force=found["python"])
    last = error.strip().splitlines()[-1] if error.strip() else f"the process ended with code {code}"
    reason = (
        f"openmmtorch {versions['openmmtorch']} does not work with torch {versions['torch']} and openmm "
        f"{versions['openmm']} ({last}); the plugin runs only with the versions it was built against: for openmmtorch "
        "1.5 from PyPI `pip install torch==2.9.1 openmm==8.5.2`, otherwise install all three from one conda channel, "
        "or use backend='PythonForce'"
    )
    return PluginState(installed=True, reason=reason)
