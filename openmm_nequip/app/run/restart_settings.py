"""The settings of a restart: those of before, with what may change, and files where they are now."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ...errors import RunFolderError
from .config_file import read_toml
from .hybrid_system import is_hybrid
from .run_config import RunConfig, make_config, option_name
from .run_folder import RunFolder
from .run_inputs import FILE_SETTINGS, MODEL_SETTINGS, find_inputs
from .run_record import RunRecord

logger = logging.getLogger(__name__)

#: Settings that a restart may change: they decide how far and on what to run, not what is simulated.
CHANGEABLE = (
    "steps", "output", "platform", "device", "compile", "kernels", "tables", "modifiers", "cuda_graphs", "threads",
    "checkpoint_interval", "trusted", "ranks", "max_neighbors", "pair_style", "rank_timeout", "deviation_select",
    "deviation_stop",
)  # fmt: skip


def settings_of_restart(folder: RunFolder, given: Mapping[str, Any]) -> tuple[RunConfig, RunRecord]:
    """Settings and record of a run that goes on, after checking that its files are those that it wrote and read.

    Parameters
    ----------
    folder : RunFolder
        It holds a run.
    given : mapping of str to value
        Settings the user stated now: those of :data:`CHANGEABLE` may differ from before, and of the files the place.

    Returns
    -------
    config : RunConfig
    record : RunRecord

    Raises
    ------
    ValueError
        If another setting was to change.
    RunFolderError
        If a file that the run needs is gone, damaged or another.
    """
    try:
        before = make_config(read_toml(folder.config))
    except ValueError as error:
        raise RunFolderError(
            f"--restart: {folder.config} is damaged ({error}); put it back as it was, and give on the command line "
            "what is to change",
            str(folder.config),
        ) from error
    record = RunRecord.read(folder, before)
    record.require(
        folder.config,
        "put it back as it was, and give on the command line what is to change (--steps, for example)",
    )
    folder.sealed = record.sealed
    now = make_config(before.as_settings(), {**given, "output": str(folder.path)})
    for name in now.as_settings().keys() | before.as_settings().keys():
        if name not in CHANGEABLE and not _same(name, getattr(now, name), getattr(before, name), record):
            raise ValueError(
                f"--restart: {option_name(name)} was {getattr(before, name)!r} and cannot become "
                f"{getattr(now, name)!r}; only {', '.join(map(option_name, CHANGEABLE))} may change, and files may "
                "have moved: start another run"
            )
    # A hybrid System is read back from the folder; files of its force field are not needed again.
    hybrid = is_hybrid(now) and (folder.latest_stage() is not None or record.has_start)
    optional = tuple(name for name in FILE_SETTINGS if name not in MODEL_SETTINGS) if hybrid else ()
    now = find_inputs(now, record.inputs, folder.path, given, optional)
    for path in (folder.system, folder.start):
        if hybrid:
            record.require(path, "put a copy of it back, or start another run")
        elif not record.is_whole(path):
            logger.warning("%s is gone or not as the run wrote it, and is written anew", path)
    return now, record


def _same(name: str, now: Any, before: Any, record: RunRecord) -> bool:
    """Whether a setting is the same, files compared later by their content."""
    if now == before:
        return True
    files = {item.place for item in record.inputs if item.setting == name}
    if None in files:
        return isinstance(now, str)
    if not files or now is None or len(now) != len(before):
        return False
    return all(i in files or new == old for i, (new, old) in enumerate(zip(now, before, strict=True)))
