"""C++ to a loaded library: compiled once for a source, a compiler and a machine, and kept in the cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

from ...cache import find, keep, scratch
from ...cxx import find_compiler, missing_compiler
from ...errors import BuildError, NotFusableError
from ...progress import run_program

logger = logging.getLogger(__name__)

#: Not -ffast-math: GCC would switch the whole process to flushing denormal numbers when it loads the library.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-pthread", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno",
    "-fno-trapping-math", "-fno-signed-zeros", "-w",
)  # fmt: skip
#: Used where the compiler has it: calls from torch's operators then run on the threads that torch has just used.
_OPENMP = "-fopenmp"
_TIMEOUT_S = 900.0
#: Variables that change what a compiler includes, links or does.
_VARIABLES = (
    "CPATH", "CPLUS_INCLUDE_PATH", "C_INCLUDE_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "LIBRARY_PATH", "SDKROOT",
)  # fmt: skip
#: Bytes of source that a compiler takes some seconds for.
SOME_SECONDS = 250_000


def vector_bytes() -> int:
    """Width of this machine's vectors in bytes, as torch finds it."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return 64 if capability.startswith("AVX512") else 32 if capability.startswith("AVX2") else 16


def machine() -> str:
    """What decides whether code that was compiled for the machine it ran on can run here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features")
    found = {line.split(":", 1)[0].strip(): line.split(":", 1)[1].strip() for line in lines if ":" in line}
    return " ".join([os.uname().machine, *(found.get(name, "") for name in wanted)])


def compiler_version() -> str:
    """The compiler's command and the first line of what it says of itself; empty without a compiler."""
    command = find_compiler()
    return " ".join([*command, _version(tuple(command))]) if command else ""


@cache
def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout.splitlines() or [""])[0]


def library_name(source: str) -> str:
    """Name of the library of a source: different for another source, machine, compiler, or options of either.

    Parameters
    ----------
    source : str
        C++.

    Returns
    -------
    str
    """
    parts = (source, machine(), compiler_version(), " ".join((*FLAGS, _OPENMP)), _surroundings())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def refusal(folder: Path, source: str) -> str:
    """Why the library of a source was refused here before; empty if it was not.

    Parameters
    ----------
    folder : pathlib.Path
        Where libraries are kept.
    source : str
        C++.

    Returns
    -------
    str
    """
    found = find(folder, library_name(source), ".refused")
    return "" if found is None else found[1].decode(errors="replace")


def _surroundings() -> str:
    """What else decides what the compiler makes: which file it is (a wrapper adds flags), and its variables."""
    command = find_compiler()
    program = shutil.which(command[0]) if command else None
    facts = os.stat(program) if program else None
    stamp = [os.path.realpath(program), facts.st_size, facts.st_mtime_ns] if program and facts else []
    return repr([*stamp, *(os.environ.get(name, "") for name in _VARIABLES)])


def build(source: str, folder: Path, name: str, check: Callable[[Path], None] | None = None) -> Path:
    """Compile a source to a shared library, unless that was done before.

    Parameters
    ----------
    source : str
        C++.
    folder : pathlib.Path
        Where libraries are kept; two processes may build the same at once.
    name : str
        Name of the library, different for everything that would make it differ.
    check : callable, optional
        Gets the path of a new library before it is kept, and raises NotFusableError if it computes something wrong;
        that is remembered for this library. A library that was kept without a check is none for those who ask for one.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    BuildError
        If there is no compiler, or it fails; with its last line.
    NotFusableError
        If the library did not pass, now or before.
    """
    name = name if check else f"unchecked-{name}"
    kept = find(folder, name, ".so")
    if kept is not None:
        return kept[0]
    refused = find(folder, name, ".refused")
    if refused is not None:
        raise NotFusableError(refused[1].decode(errors="replace"))
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(missing_compiler())
    folder.mkdir(parents=True, exist_ok=True)
    with scratch(folder, "kernels") as work:
        output = _compiled(source, compiler, work)
        try:
            ctypes.CDLL(str(output))
        except OSError as error:
            raise BuildError(f"the library that {compiler[0]} made cannot be loaded: {error}") from error
        if check:
            try:
                check(output)
            except NotFusableError as error:
                keep(folder, name, ".refused", str(error).encode())
                raise
        return keep(folder, name, ".so", output.read_bytes())


def _compiled(source: str, compiler: list[str], work: Path) -> Path:
    """A library of the source, in a folder to work in."""
    file, output = work / "model.cpp", work / "model.so"
    file.write_text(source, encoding="utf-8")
    for flags in ((*FLAGS, _OPENMP), FLAGS):
        code, text = _compile([*compiler, *flags, "-o", str(output), str(file)], work, len(source))
        if code == 0 and output.exists():
            return output
    errors = [line for line in text.splitlines() if "error" in line] or text.splitlines()
    logger.debug("output of the compiler:\n%s", text)
    raise BuildError(f"{compiler[0]} ended with code {code}: {errors[0] if errors else 'no message'}")


def _compile(command: list[str], work: Path, size: int) -> tuple[int, str]:
    """Exit code and output of the compiler on a source of so many bytes."""
    time = "some seconds" if size < SOME_SECONDS else "a minute, on a busy machine some"
    what = f"Compiling the fused kernels of a model: {time}, once; the result is kept"
    environment = dict(os.environ, TMPDIR=str(work))  # where a compiler that is killed leaves its own temporary files
    try:
        with open(work / "log", "w+b") as output:
            code = run_program(command, what, output, environment, timeout_s=_TIMEOUT_S, scratch=work)
            output.seek(0)
            return code, output.read().decode(errors="replace")
    except (OSError, TimeoutError) as error:
        raise BuildError(f"{command[0]} did not finish: {error}") from error
