"""Programs that work for seconds or minutes: run in a group of their own, with a word to whoever waits."""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any, NamedTuple

from tqdm.auto import tqdm

logger = logging.getLogger(__name__)

_SUPERVISOR = Path(__file__).with_name("supervisor.py")


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this; IPython is not imported to find out."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> Any:
    """A bar where somebody looks: at a terminal and in a notebook, whose output is no terminal; nowhere else.

    Parameters
    ----------
    iterable : iterable, optional
        What is gone through.
    options
        Of tqdm.

    Returns
    -------
    tqdm.tqdm
        tqdm's own widget in a notebook that has ipywidgets.
    """
    return tqdm(iterable, disable=False if in_notebook() else None, **options)


#: Whether programs may be started; False where nobody asked for the minute that a compilation takes.
_PROGRAMS_ALLOWED = ContextVar("programs_allowed", default=True)


@contextlib.contextmanager
def no_programs() -> Iterator[None]:
    """Start no program inside the block: :func:`run_program` raises OSError, and what was made before is used."""
    token = _PROGRAMS_ALLOWED.set(False)
    try:
        yield
    finally:
        _PROGRAMS_ALLOWED.reset(token)


def run_program(
    command: Sequence[str],
    what: str,
    output: IO[bytes],
    environment: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    folder: str | None = None,
    scratch: Path | None = None,
) -> int:
    """Run a program, telling a person at the terminal what it does and for how long it has been going.

    If the wait ends early, by Ctrl-C, the time limit or the death of this process, the program and all that it started
    end with it (:mod:`openmm_nequip.supervisor`).

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    what : str
        What it does, for the message.
    output : file
        Gets what it prints.
    environment : mapping of str to str, optional
        Its environment; that of this process by default.
    timeout_s : float, optional
        Time limit in seconds.

    folder : str, optional
        Where it starts; in the current folder by default.
    scratch : pathlib.Path, optional
        Goes as well where this process dies before the program ends.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    OSError
        If it cannot be started, or must not be here (:func:`no_programs`).
    TimeoutError
        If it runs into the limit.
    """
    if not _PROGRAMS_ALLOWED.get():
        raise OSError(f"nobody asked for this: {what}")
    logger.info("%s", what)
    if not sys.stderr.isatty() and not in_notebook() and not logger.isEnabledFor(logging.INFO):  # who logs has heard it
        tqdm.write(what, file=sys.stderr)
    start = time.monotonic()
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(f"{command[0]} is not a program that can be run")
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR), str(scratch or ""), *command], env=environment, stdout=output,
        stderr=subprocess.STDOUT, stdin=subprocess.PIPE, start_new_session=True, cwd=folder,
    )  # fmt: skip
    try:
        with progress_bar(desc=what, bar_format="{desc} [{elapsed}]", leave=False) as bar:
            while True:
                try:
                    code = process.wait(timeout=1.0)
                    break
                except subprocess.TimeoutExpired:
                    bar.refresh()
                if timeout_s is not None and time.monotonic() - start > timeout_s:
                    raise TimeoutError(f"{command[0]} did not finish in {timeout_s:g} s")
    finally:
        process.stdin.close()  # type: ignore[union-attr]  # at which the supervisor ends what still runs
        process.wait()
    logger.info("%s: done in %.0f s", what.partition(":")[0], time.monotonic() - start)
    return code


class Ended(NamedTuple):
    """What a program left behind."""

    code: int  #: exit code
    output: str  #: what it printed
    errors: str  #: what it complained of


def run_quietly(command: Sequence[str]) -> Ended:
    """Run a program without a word; it ends with this process, however that dies.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.

    Returns
    -------
    Ended
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_SUPERVISOR), "", *command], stdout=output, stderr=errors,
            stdin=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait()
        finally:
            process.stdin.close()  # type: ignore[union-attr]  # at which the supervisor ends what still runs
            process.wait()
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ended(code, *texts)
