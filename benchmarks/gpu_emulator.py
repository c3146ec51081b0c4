"""A CPU in the place of a GPU: the CUDA text of a model's kernels as C++ over ``simt.hpp``."""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_dialect import cuda_text, kernels_in

_BARRIER = re.compile(r"^(?!\s*(?:#|//)).*?\b(SYNC_WARP|SYNC_TEAM|SYNC_THREADS)\b")


class Emulator:
    """Launches kernels on the CPU, with threads in random order.

    Parameters
    ----------
    source : str
        A model's kernels, as :func:`openmm_nequip.kernels.gpu.gpu_generate.generate_gpu` writes them.
    precision, atoms
        As of :func:`gpu_dialect.defines`.
    folder : pathlib.Path
        Where the compiled form is put.
    compiler : str
        C++ compiler.

    Attributes
    ----------
    seed : int
        Of the order of threads and blocks.
    barriers : list of tuple of (str, int, str)
        Of each barrier in the text its kernel, its line and its name.
    """

    def __init__(self, source: str, precision: str, atoms: int, folder: Path, compiler: str = "g++") -> None:
        self.seed = 1
        source, self.barriers = _number_barriers(source)
        source, kernels = _watch_memory(source), kernels_in(source)
        text = [
            '#include "simt.hpp"',
            cuda_text(source, precision, atoms),
            *map(_wrapper, kernels.items()),
        ]
        code, library = folder / "kernels.cpp", folder / "kernels.so"
        code.write_text("\n".join(text), encoding="utf-8")
        include = f"-I{Path(__file__).parent}"
        command = [compiler, "-std=c++17", "-O1", "-w", "-shared", "-fPIC", include, "-o", str(library), str(code)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        self._library = ctypes.CDLL(str(library))
        self._library.simt_passed.restype = self._library.simt_races.restype = ctypes.c_long

    def array(self, values: np.ndarray) -> np.ndarray:
        """Memory of the device with these values."""
        return np.array(values, order="C")

    def get(self, array: np.ndarray) -> np.ndarray:
        """The values in memory of the device."""
        return array.copy()

    def launch(self, kernel: str, blocks: int, threads: int, arguments: Sequence[Any]) -> None:
        """Run a kernel to its end.

        Raises
        ------
        RuntimeError
            If threads wait for ever, at different barriers.
        """
        whole = [isinstance(each, int) for each in arguments]
        fields = [(f"a{k}", ctypes.c_int if number else ctypes.c_void_p) for k, number in enumerate(whole)]
        record = type("Arguments", (ctypes.Structure,), {"_fields_": fields})
        values = [each if number else each.ctypes.data for each, number in zip(arguments, whole, strict=True)]
        self.seed += 1
        run = getattr(self._library, f"run_{kernel}")
        if run(blocks, threads, ctypes.c_uint(self.seed), ctypes.byref(record(*values))):
            raise RuntimeError(f"{kernel}: threads wait for ever, at different barriers")

    def skip(self, barrier: int | None) -> None:
        """Take away one of :attr:`barriers`, by its place there, or none."""
        self._library.simt_skip(-1 if barrier is None else barrier)

    def races(self) -> int:
        """Meetings of two threads in a group's memory, one writing, no barrier between, since this was asked last."""
        return self._library.simt_races()

    def passed(self) -> int:
        """Barriers that threads have passed since this was asked last."""
        return self._library.simt_passed()


def _number_barriers(source: str) -> tuple[str, list[tuple[str, int, str]]]:
    """The text with a number at each barrier, and where they are."""
    lines, barriers, kernel = source.split("\n"), [], ""
    for at, line in enumerate(lines):
        if match := re.match(r"KERNEL\s+void\s+(\w+)", line):
            kernel = match[1]
        if match := _BARRIER.match(line):
            name = match[1]
            whole = "WARPS > 1" if name == "SYNC_TEAM" else str(name == "SYNC_THREADS").lower()
            lines[at] = re.sub(rf"\b{name}\b", f"simt_barrier({len(barriers)}, {whole});", line, count=1)
            barriers.append((kernel, at + 1, name))
    return "\n".join(lines), barriers


def _watch_memory(source: str) -> str:
    """The text with a group's memory made of ``Watched`` numbers."""
    source = re.sub(r"\bLOCAL (number|int) ", r"LOCAL Watched<\1> ", source)
    source = re.sub(r"\bLOCAL_ARG number\*", "Watched<number>*", source)
    # A Watched number beside a whole one would become whole.
    return re.sub(r": 0\)", ": (number) 0)", source)


def _wrapper(kernel: tuple[str, list[tuple[str, str]]]) -> str:
    name, arguments = kernel
    fields = " ".join(f"{kind} {argument};" for kind, argument in arguments)
    given = ", ".join(f"a.{argument}" for _, argument in arguments)
    return (
        f"struct Arguments_{name} {{ {fields} }};\n"
        f"static void call_{name}(void* p) {{ Arguments_{name}& a = *(Arguments_{name}*) p; {name}({given}); }}\n"
        f'extern "C" int run_{name}(int blocks, int threads, unsigned seed, void* p) '
        f"{{ return simt::run(call_{name}, p, blocks, threads, seed); }}"
    )
