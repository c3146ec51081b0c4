"""Fused kernels for another kind of processor, run under an emulator and compared with this machine's.

    python benchmarks/emulated.py --compiler "aarch64-linux-gnu-g++ -march=armv8-a" --emulator qemu-aarch64

For a model of each family (cells of ``kernels.py``) the code is written for vectors of so many bytes
(``--vector-bytes``: 16 for NEON and SSE, 32 for AVX2), compiled with a driver into one program without shared
libraries, and run under the emulator on a box of water. Printed: the largest differences of energies and forces from
the library of this machine, in eV and eV/Å.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from kernels import CELLS, make, water

CELLS_OF_FAMILIES = ("l1-parity-16", "allegro-twice-l1-plain-16-1layers")
#: What the library is compiled with, without what names this machine.
FLAGS = ("-std=c++17", "-O3", "-pthread", "-ffp-contract=fast", "-fno-math-errno", "-static", "-Wno-psabi")
_DRIVER = r"""
#include <cstdio>
#include <cstdlib>
template <class T> T* file(const char* name, long count) {
  T* to = (T*)std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64);
  FILE* from = std::fopen(name, "rb");
  if (!from || std::fread(to, sizeof(T), count, from) != (size_t)count) std::abort();
  std::fclose(from);
  return to;
}
int main(int, char** given) {
  const long n_weights = std::atol(given[1]), n_constants = std::atol(given[2]);
  const long n = std::atol(given[3]), edges = std::atol(given[4]);
  void* step = fused_create(file<real>("weights", n_weights), file<double>("constants", n_constants));
  double *energies = file<double>("energies", n), *forces = file<double>("forces", 3 * n), virial[9];
  const int problem = fused_evaluate(
      step, 2, 0, n, edges, file<int64_t>("types", n), file<int64_t>("edge_index", 2 * edges),
      file<double>("shifts", 3 * edges), file<double>("positions", 3 * n), file<double>("cell", 9), energies, forces,
      virial);
  FILE* to = std::fopen("answer", "wb");
  std::fwrite(energies, sizeof(double), n, to);
  std::fwrite(forces, sizeof(double), 3 * n, to);
  std::fclose(to);
  return problem;
}
"""


def compare(cell: str, given: argparse.Namespace) -> tuple[float, float]:
    """Largest differences of atomic energies and force components of a cell's model."""
    from openmm_nequip.kernels.cpu.generate import generate
    from openmm_nequip.kernels.cpu.library import Step
    from openmm_nequip.kernels.fuse import fuse, tabulate_program
    from openmm_nequip.kernels.read import read_model
    from openmm_nequip.models.fused import open_kernels
    from openmm_nequip.upstream.nequip_state import default_dtype

    model = make(cell, "float32")
    with default_dtype(torch.float64):
        program = read_model(model)
        own = Step(open_kernels(fuse(model, True)))
        made = generate(program, tabulate_program(program), given.vector_bytes)
    arrays = [tensor.numpy() for tensor in water(given.atoms, pairwise=True)]
    energies, forces, _ = own(*arrays, 1)
    positions, types, edge_index, shifts, box = arrays
    files = {
        "weights": made.weights, "constants": made.constants, "positions": positions, "types": types, "cell": box,
        "edge_index": edge_index, "shifts": shifts, "energies": energies * 0, "forces": forces * 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, array in files.items():
            np.ascontiguousarray(array).tofile(Path(folder) / name)
        (Path(folder) / "program.cpp").write_text(made.source + _DRIVER)
        command = [*shlex.split(given.compiler), *FLAGS, "program.cpp", "-o", "program"]
        subprocess.run(command, cwd=folder, check=True)
        counts = [made.weights.size, made.constants.size, len(types), edge_index.shape[1]]
        run = [*shlex.split(given.emulator), "./program", *map(str, counts)]
        subprocess.run(run, cwd=folder, check=True)
        answer = np.fromfile(Path(folder) / "answer")
    return (
        float(np.abs(answer[: len(types)] - energies).max()),
        float(np.abs(answer[len(types) :].reshape(-1, 3) - forces).max()),
    )


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiler", required=True, help="with its options for the other machine")
    parser.add_argument("--emulator", default="", help="empty: this machine runs the program")
    parser.add_argument("--vector-bytes", type=int, default=16)
    parser.add_argument("--cells", nargs="+", default=CELLS_OF_FAMILIES, choices=list(CELLS), metavar="NAME")
    parser.add_argument("--atoms", type=int, default=96)
    given = parser.parse_args()
    for cell in given.cells:
        energy, force = compare(cell, given)
        print(f"{cell:30s} energies {energy:.1e} eV, forces {force:.1e} eV/Å", flush=True)


if __name__ == "__main__":
    main()
