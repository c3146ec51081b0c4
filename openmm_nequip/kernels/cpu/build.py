"""C++ to a loaded library: compiled once for a source, a compiler and a machine, and kept in the cache folder."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from ...cxx import find_compiler, missing_compiler
from ...errors import BuildError
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
    """Name of the library of a source: different for another source, machine or compiler.

    Parameters
    ----------
    source : str
        C++.

    Returns
    -------
    str
    """
    parts = (source, machine(), compiler_version(), " ".join(FLAGS))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def build(source: str, folder: Path, name: str) -> Path:
    """Compile a source to a shared library, unless that was done before.

    Parameters
    ----------
    source : str
        C++.
    folder : pathlib.Path
        Where libraries are kept; two processes may build the same at once.
    name : str
        Name of the library, different for everything that would make it differ.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    BuildError
        If there is no compiler, or it fails; with its last line.
    """
    target = folder / f"{name}.so"
    if target.exists():
        return target
    compiler = find_compiler()
    if compiler is None:
        raise BuildError(missing_compiler())
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="openmm-nequip-kernels-", dir=folder) as scratch:
        file, output = Path(scratch) / "model.cpp", Path(scratch) / "model.so"
        file.write_text(source, encoding="utf-8")
        for flags in ((*FLAGS, _OPENMP), FLAGS):
            command = [*compiler, *flags, "-o", str(output), str(file)]
            code, text = _compile(command, Path(scratch) / "log", len(source))
            if code == 0 and output.exists():
                break
        else:
            errors = [line for line in text.splitlines() if "error" in line] or text.splitlines()
            logger.debug("output of the compiler:\n%s", text)
            reason = errors[0] if errors else "no message"
            raise BuildError(f"{compiler[0]} ended with code {code}: {reason}")
        try:
            ctypes.CDLL(str(output))
        except OSError as error:
            raise BuildError(f"the library that {compiler[0]} made cannot be loaded: {error}") from error
        os.replace(output, target)
    return target


def _compile(command: list[str], log: Path, size: int) -> tuple[int, str]:
    """Exit code and output of the compiler on a source of so many bytes."""
    time = "some seconds" if size < SOME_SECONDS else "a minute, on a busy machine some"
    what = f"Compiling the fused kernels of a model: {time}, once; the result is kept"
    try:
        with open(log, "w+b") as output:
            code = run_program(command, what, output, timeout_s=_TIMEOUT_S)
            output.seek(0)
            return code, output.read().decode(errors="replace")
    except (OSError, TimeoutError) as error:
        raise BuildError(f"{command[0]} did not finish: {error}") from error
