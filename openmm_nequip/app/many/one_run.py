"""One run of many, in a process of its own that ends with its worker."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from ...progress import run_quietly
from ..answer import FAILED, OK, SUSPICIOUS
from ..run.run_folder import RunFolder

#: How often a run that was ended by a signal is taken up again, and how long a folder may be in others' hands.
RETRIES = 3
_WAIT_S, _LOCK_S = 1.0, 60.0
_SIGNALS = 128
_IN_USE = "is in use by another run"


def run_here(name: str, toml: str, output: str) -> dict[str, Any]:
    """Run, or go on with, one run; called in a worker.

    Parameters
    ----------
    name : str
        Of the run.
    toml : str
        Its settings.
    output : str
        Its folder.

    Returns
    -------
    dict
        ``name``, ``folder``, ``code`` (of the command), ``error``, ``attempts``, and ``summary`` where there is one.
    """
    folder = RunFolder(output)
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, not in it: what is in it belongs to the run.
    settings = folder.path.parent / f".{name}.toml"
    settings.write_text(toml, encoding="utf-8")
    try:
        code, text, attempts = _until_it_ends(folder, settings)
    finally:
        settings.unlink(missing_ok=True)
    result = {"name": name, "folder": output, "code": code, "attempts": attempts, "error": ""}
    if code not in (OK, SUSPICIOUS):
        result["error"] = text or f"it ended with the code {code}"
    if folder.summary.exists():
        result["summary"] = json.loads(folder.summary.read_text(encoding="utf-8"))
    return result


def _until_it_ends(folder: RunFolder, settings: Path) -> tuple[int, str, int]:
    """Exit code, last line of complaint, and number of attempts."""
    attempts, waited = 0, 0.0
    while True:
        attempts += 1
        command = [sys.executable, "-m", "openmm_nequip", "run", "--quiet", "--json", "--output", str(folder.path)]
        done = run_quietly([*command, *(["--restart"] if folder.config.exists() else ["--config", str(settings)])])
        text = (done.errors.strip().splitlines() or [""])[-1]
        if done.code == FAILED and _IN_USE in text and waited < _LOCK_S:
            # Whoever ran it before, on a worker that is gone, is about to end.
            time.sleep(_WAIT_S)
            waited += _WAIT_S
            attempts -= 1
        elif done.code < _SIGNALS or attempts > RETRIES:
            return done.code, text, attempts
