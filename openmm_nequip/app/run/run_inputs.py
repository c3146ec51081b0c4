"""The files that a run was started from: where they are, also after the folder was moved, and copies of them.

Each is known by its SHA-256. Paths are kept relative to the run folder where a file lies near it; small files are
copied into the folder, which can then be moved alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ...choices import NEQUIP_NET, PYTHON
from ...errors import RunFolderError
from ...models import locate
from .run_config import RunConfig, option_name
from .setting_values import is_near

logger = logging.getLogger(__name__)

#: Folder for copies, inside the run folder.
COPIES = "inputs"
#: Larger files are not copied, nor larger models embedded in the System's XML.
MOST_BYTES = 32 << 20
#: Settings that name files, all of which a restart may find elsewhere.
MODEL_SETTINGS = ("model", "committee")
FILE_SETTINGS = (*MODEL_SETTINGS, "structure", "velocities", "topology", "restraint_reference", "types", "forcefield")


@dataclass(frozen=True)
class RunInput:
    """A file that a run was started from.

    Parameters
    ----------
    setting : str
        The setting that names it.
    place : int or None
        Which of its values, for a setting with several.
    path : str
        Where it was.
    relative : str or None
        The same from the run folder, for a file near it.
    sha256 : str
        Digest of its content.
    copy : str or None
        Where its copy is, from the run folder.
    """

    setting: str
    place: int | None
    path: str
    relative: str | None
    sha256: str
    copy: str | None

    @property
    def option(self) -> str:
        """The option that names it."""
        return f"--{option_name(self.setting)}"


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content as hex.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def named_files(config: RunConfig) -> Iterator[tuple[str, int | None, str]]:
    """Setting, place and path of each file that the settings name; names of types and OpenMM's own files are none."""
    for setting in FILE_SETTINGS:
        value = getattr(config, setting)
        if isinstance(value, str):
            yield setting, None, value
        elif value is not None:
            always = setting in MODEL_SETTINGS
            yield from ((setting, i, item) for i, item in enumerate(value) if always or os.path.isabs(item))


def take_inputs(config: RunConfig, folder: Path) -> list[RunInput]:
    """Digests of the files that a new run is started from, small ones copied into its folder.

    Parameters
    ----------
    config : RunConfig
        Settings; the files were read already.
    folder : pathlib.Path
        The run folder.

    Returns
    -------
    list of RunInput
    """
    found: list[RunInput] = []
    for setting, place, path in named_files(config):
        if path.startswith(PYTHON):
            found.append(RunInput(setting, place, path, None, locate(path).sha256, None))
            continue
        there = locate(path).path if setting in MODEL_SETTINGS else path
        digest = sha256_of_file(there)
        relative = os.path.relpath(path, folder) if is_near(path, folder) else None
        taken = {item.copy for item in found}
        found.append(RunInput(setting, place, path, relative, digest, _copy(there, folder, digest, taken)))
    return found


def _copy(path: str, folder: Path, digest: str, taken: set[str | None]) -> str | None:
    """Copy a small file; from the run folder, None where that was not done."""
    name = Path(COPIES, Path(path).name)
    try:
        if os.path.getsize(path) > MOST_BYTES:
            logger.info("%s is large and not copied into the run folder: keep it, or its content, within reach", path)
            return None
        if name.as_posix() in taken:
            name = Path(COPIES, f"{digest[:8]}-{Path(path).name}")
        (folder / COPIES).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / name)
        if sha256_of_file(folder / name) == digest:
            return name.as_posix()
    except OSError as error:
        logger.warning("%s was not copied into the run folder: %s", path, error.strerror or error)
    with contextlib.suppress(OSError):
        (folder / name).unlink(missing_ok=True)
    return None


def find_inputs(
    config: RunConfig, inputs: list[RunInput], folder: Path, given: Mapping[str, Any], optional: tuple[str, ...]
) -> RunConfig:
    """The settings of a restart with the present paths of all files.

    Parameters
    ----------
    config : RunConfig
        Settings, with paths as they were or as the user gave them now.
    inputs : list of RunInput
        What the run was started from.
    folder : pathlib.Path
        The run folder.
    given : mapping
        Settings that the user gave now: a file named there must be the one.
    optional : tuple of str
        Settings whose files a restart does not read; they may be gone.

    Returns
    -------
    RunConfig

    Raises
    ------
    RunFolderError
        If a file is at none of the places where it may be, or another content is where it should be.
    """
    for item in inputs:
        value = getattr(config, item.setting)
        named = value if item.place is None else value[item.place]
        path = _find(item, named, folder, item.setting in given, item.setting in optional)
        if path is None:
            continue
        if path != named:
            logger.info("%s %s: the same content is now at %s", item.option, named, path)
        changed: Any = path
        if item.place is not None:
            changed = (*value[: item.place], path, *value[item.place + 1 :])
        config = replace(config, **{item.setting: changed})
    return config


def _find(item: RunInput, named: str, folder: Path, given: bool, optional: bool) -> str | None:
    """Where a file is now; None for one that is gone and not needed."""
    if named.startswith((NEQUIP_NET, PYTHON)):
        locate(named, trusted=item.sha256)
        return named
    found = _digest(named)
    if found == item.sha256:
        return named
    guesses = [] if given else [path for path in _guesses(item, folder) if _digest(path) == item.sha256]
    if found is None and guesses:
        return guesses[0]
    if found is None and optional and not given:
        return None
    cure = f"put it back, or give {item.option} FILE with a file of the SHA-256 {item.sha256}"
    if guesses:
        cure = f"put it back, or give {item.option} {guesses[0]}, which is"
    what = f"the {item.setting} file {named}"
    if found is None:
        raise RunFolderError(f"--restart: {what} is gone; {cure}", named)
    raise RunFolderError(
        f"--restart: {what} is not the one the run was started from: its SHA-256 is {found}; {cure}", named
    )


def _guesses(item: RunInput, folder: Path) -> Iterator[str]:
    """Other places where the content may be."""
    name = Path(item.path).name
    stated = (folder / path for path in (item.relative, item.copy) if path)
    places = [Path(item.path), *stated, folder / COPIES / name, folder / name, folder.parent / name, Path.cwd() / name]
    yield from dict.fromkeys(os.path.abspath(place) for place in places)


def _digest(path: str) -> str | None:
    """SHA-256 of a file, None where there is none."""
    try:
        return sha256_of_file(path) if os.path.isfile(path) else None
    except OSError:
        return None


def inputs_from_json(rows: list[dict[str, Any]]) -> list[RunInput]:
    """What :func:`inputs_to_json` made; KeyError or TypeError for anything else."""
    return [RunInput(**row) for row in rows]


def inputs_to_json(inputs: list[RunInput]) -> list[dict[str, Any]]:
    """JSON-ready."""
    return [asdict(item) for item in inputs]
