"""Whether the libraries of our force work with the OpenMM that is installed: another process finds out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ...cache import find, keep, key_of, shelf

_TIMEOUT_S = 300
_WORKER = Path(__file__).with_name("plugin_probe_worker.py")


def probe_libraries(libraries: list[Path]) -> str:
    """Load the libraries in another process and compute something, once for these libraries.

    Parameters
    ----------
    libraries : list of pathlib.Path
        That of the force, then those of platforms; their names have the digest of their content.

    Returns
    -------
    str
        Why they do not work; empty if they do.
    """
    key = f"probe-{key_of({'libraries': [path.name for path in libraries], 'python': sys.executable})}"
    folder: Path | None = None
    try:
        folder = shelf("native")
        kept = find(folder, key, ".json")
        if kept is not None:
            return str(json.loads(kept[1])["reason"])
    except (OSError, ValueError, KeyError):
        pass  # asked anew
    command = [sys.executable, str(_WORKER), *map(str, libraries)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, stdin=subprocess.DEVNULL)
        code, error = done.returncode, done.stderr
    except subprocess.TimeoutExpired:
        return f"our force for OpenMM gave no answer in {_TIMEOUT_S} s"
    reason = ""
    if code:
        last = error.strip().splitlines()[-1] if error.strip() else f"the process ended with code {code}"
        reason = f"our force for OpenMM does not work with the OpenMM that is installed ({last})"
    if folder is not None:
        try:
            keep(folder, key, ".json", json.dumps({"reason": reason}).encode())
        except OSError:
            pass  # the answer holds for this process even where it cannot be kept
    return reason
