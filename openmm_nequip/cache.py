"""The cache folder: compiled models and answers that are slow to find out. Files appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT_VARIABLE = "OPENMM_NEQUIP_CACHE"


def cache_dir() -> Path:
    """The cache folder, created if needed.

    ``$OPENMM_NEQUIP_CACHE``, else ``openmm-nequip`` under ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Raises
    ------
    OSError
        If it cannot be created.
    """
    named = os.environ.get(ENVIRONMENT_VARIABLE)
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "openmm-nequip"
    folder = Path(named).expanduser() if named else base
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def key_of(facts: Mapping[str, object]) -> str:
    """A short, stable name for a set of facts."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that no reader ever sees part of it and two writers do no harm."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
