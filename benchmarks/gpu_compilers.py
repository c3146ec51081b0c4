"""NVIDIA's compilers from wheels, without a GPU: NVRTC as OpenMM uses it, then ptxas and nvdisasm to look at the
result.

torch's wheels for CUDA bring all three: NVRTC as a dependency (``nvidia-cuda-nvrtc``), the others inside Triton's.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

#: What OpenMM gives NVRTC beside the architecture.
OPTIONS = ("--use_fast_math",)
_BRANCH = re.compile(r"\bBRA\b.*?(\.L_x_\d+)")


def find_tool(name: str) -> Path | None:
    """A library or program of NVIDIA's in this environment, by the beginning of its name."""
    packages = Path(sysconfig.get_path("purelib"))
    places = [*packages.glob(f"nvidia/**/{name}*"), *packages.glob(f"triton/backends/nvidia/bin/{name}")]
    return next((path for path in sorted(places) if path.is_file() and ".alt." not in path.name), None)


class CompilationError(RuntimeError):
    """NVRTC or ptxas refuses a text; the message is theirs."""


@dataclass(frozen=True)
class KernelUse:
    """What a kernel takes of a device.

    Parameters
    ----------
    registers : int
        Of a thread.
    spilled : int
        Bytes that go to memory and back for want of registers.
    shared : int
        Bytes of a group's memory.
    loops : list of tuple of int
        Machine instructions of each innermost loop, and how many of them read the device's memory; empty where the
        machine code was not read.
    """

    registers: int
    spilled: int
    shared: int
    loops: list[tuple[int, int]]


class Nvrtc:
    """NVIDIA's compiler at run time.

    Parameters
    ----------
    library : pathlib.Path
        ``libnvrtc``.
    """

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    @property
    def version(self) -> str:
        """Major and minor number."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def ptx(self, text: str, architecture: int) -> str:
        """PTX of a text for ``compute_<architecture>``.

        Raises
        ------
        CompilationError
            With the compiler's log.
        """
        return self._compile(text, f"compute_{architecture}", "PTX").rstrip(b"\0").decode()

    def cubin(self, text: str, architecture: int) -> bytes:
        """Machine code of a text for ``sm_<architecture>``; raises as :meth:`ptx`."""
        return self._compile(text, f"sm_{architecture}", "CUBIN")

    def _compile(self, text: str, architecture: str, what: str) -> bytes:
        library, program = self._library, ctypes.c_void_p()
        library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), None, 0, None, None)
        try:
            options = [f"-arch={architecture}".encode(), *(option.encode() for option in OPTIONS)]
            code = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
            if code != 0:
                raise CompilationError(self._result(program, "ProgramLog").rstrip(b"\0").decode())
            return self._result(program, what)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _result(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        content = ctypes.create_string_buffer(size.value)
        getattr(self._library, f"nvrtcGet{what}")(program, content)
        return content.raw


def machine_code(text: str, architecture: int, folder: Path) -> bytes:
    """Machine code of a text, kept in a folder by the text's digest.

    Parameters
    ----------
    text : str
        CUDA.
    architecture : int
        Of the card.
    folder : pathlib.Path
        Where it is looked for and put.

    Returns
    -------
    bytes

    Raises
    ------
    CompilationError
        As :meth:`Nvrtc.ptx`.
    RuntimeError
        If it is not there and there is no NVRTC either.
    """
    kept = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}-sm_{architecture}.cubin"
    if not kept.exists():
        library = find_tool("libnvrtc.so")
        if library is None:
            raise RuntimeError("NVRTC is not there; install a CUDA build of torch")
        made = Nvrtc(library).cubin(text, architecture)
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(made)
    return kept.read_bytes()


def look_at(ptx: str, architecture: int, folder: Path, loops: bool = True) -> dict[str, KernelUse]:
    """What each kernel of a PTX text takes.

    Parameters
    ----------
    ptx : str
        Text of :meth:`Nvrtc.ptx`.
    architecture : int
        Of the card.
    folder : pathlib.Path
        For intermediate files.
    loops : bool
        Whether the machine code is read as well.

    Returns
    -------
    dict of str to KernelUse

    Raises
    ------
    CompilationError
        With the assembler's message.
    """
    source, binary = folder / "kernels.ptx", folder / "kernels.cubin"
    source.write_text(ptx, encoding="utf-8")
    command = [str(find_tool("ptxas")), "-v", f"-arch=sm_{architecture}", str(source), "-o", str(binary)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CompilationError(done.stderr)
    code = _machine_code(binary) if loops else {}
    found, name = {}, ""
    for line in done.stderr.splitlines():
        if match := re.search(r"Compiling entry function '(\w+)'", line):
            name, spilled = match[1], 0
        if match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            spilled = int(match[1]) + int(match[2])
        if match := re.search(r"Used (\d+) registers", line):
            shared = re.search(r"(\d+) bytes smem", line)
            inner = _inner_loops(code.get(name, []))
            found[name] = KernelUse(int(match[1]), spilled, int(shared[1]) if shared else 0, inner)
    return found


def _machine_code(binary: Path) -> dict[str, list[str]]:
    """Instructions and labels of each kernel."""
    text = subprocess.run(
        [str(find_tool("nvdisasm")), "-c", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    kernels: dict[str, list[str]] = {}
    name = ""
    for line in map(str.strip, text.splitlines()):
        if match := re.match(r"\.text\.(\w+):", line):
            name = match[1]
            kernels[name] = []
        elif match := re.match(r"(\.L_x_\d+):", line):
            kernels.setdefault(name, []).append(match[1])
        elif match := re.match(r"/\*[0-9a-f]+\*/\s+(.*?)\s*;", line):
            kernels.setdefault(name, []).append(match[1])
    return kernels


def _operation(instruction: str) -> str:
    return re.sub(r"^@!?U?P\w+\s+", "", instruction)


def _inner_loops(lines: list[str]) -> list[tuple[int, int]]:
    """Instructions and reads of memory of the loops that hold no other."""
    labels = {line: at for at, line in enumerate(lines) if line.startswith(".L_x_")}
    loops = []
    for at, line in enumerate(lines):
        if (match := _BRANCH.search(line)) and labels.get(match[1], at + 1) <= at:
            loops.append((labels[match[1]], at))
    inner = [
        one for one in loops if not any(other != one and one[0] <= other[0] and other[1] <= one[1] for other in loops)
    ]
    bodies = [[line for line in lines[a : b + 1] if not line.startswith(".L_x_")] for a, b in inner]
    return [(len(body), sum(_operation(each).startswith("LDG") for each in body)) for body in bodies]
