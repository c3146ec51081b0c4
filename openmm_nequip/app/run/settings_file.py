"""Settings of a run in a TOML file."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from ...files import obstacle
from .run_config import RunConfig, option_name
from .setting_values import absolute, present_file


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Settings from a TOML file; relative paths in it start at the file's folder.

    Raises
    ------
    ValueError
        If the file is missing, no TOML, or has tables.
    """
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib  # type: ignore[no-redef]
    reason = obstacle(path)
    if reason:
        raise ValueError(f"config file {path} {reason}")
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"config file {path} cannot be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"config file {path} is no TOML: {error}") from error
    return _with_paths(path, values)


def _with_paths(path: str | os.PathLike[str], values: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file with their paths absolute."""
    kinds = {setting.name: setting.metadata["kind"] for setting in fields(RunConfig)}
    with_files = {setting.name for setting in fields(RunConfig) if setting.metadata.get("files")}
    folder = Path(path).resolve().parent
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in kinds:
            known = ", ".join(option_name(name) for name in kinds)
            raise ValueError(f"config file {path} has the unknown key {key!r}; the keys are {known}")
        if kinds[name] == "path" and isinstance(value, str) and value.strip():
            values[key] = absolute(value, folder)
        elif kinds[name] == "paths" and isinstance(value, list):
            values[key] = [absolute(item, folder) if isinstance(item, str) and item.strip() else item for item in value]
        elif name in with_files and isinstance(value, list):
            values[key] = [present_file(item, folder) for item in value]
    return values
