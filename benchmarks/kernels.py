"""Fused kernels against nequip's own AOTInductor package, over models and sizes, interleaved in one process a model.

    python benchmarks/kernels.py --output FOLDER [--cells study l1-32 ...] [--sizes 22 96 768 3072] [--compile-only]

Models have random weights: what they compute takes the same time. The package is made as by ``nequip-compile --target
ase``; it is kept in FOLDER, because compiling takes longer than measuring. Structures are water at its density
(a periodic box), and for 22 atoms a droplet in vacuum. Edges are given to the package, and stay with the fused kernels,
as between two searches of a simulation. Beside every ratio stands the largest difference between the fused model and
the package, and the share of the measured peak of fused multiply-adds that the kernels reach. With ``--threads 1``
times are those of the thread on its core, so that others on the machine disturb less. Written: ``kernels.json``,
``kernels.png`` and ``kernels-allegro.png`` in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from kernels_picture import ALLEGRO, draw, draw_allegro
from timing import environment, interleaved

CUTOFF = 5.0
#: Name -> options of nequip's NequIPGNNModel, or of nequip-allegro's AllegroModel, beyond the common ones.
STUDY = {"radial_mlp_depth": 2, "radial_mlp_width": 64, "num_layers": 4, "num_features": 32}
CELLS = {"study": STUDY}
for _order in (1, 2, 3):
    for _parity in (False, True):
        for _features in (16, 32, 64, 128):
            _name = f"l{_order}-{'parity' if _parity else 'plain'}-{_features}"
            CELLS[_name] = {"l_max": _order, "parity": _parity, "num_features": _features, "num_layers": 3}
# Of Allegro: options of AllegroModel. Networks are nequip-allegro's default ones with 64 scalars, or ("twice-") twice
# as wide as the tensors, 128 at most, and so is the readout.
for _order in (1, 2, 3):
    for _parity in (False, True):
        for _features in (16, 32, 64, 128):
            for _depth in (1, 2, 3):
                for _kind, _width, _readout in (("", 64, 32), ("twice-", min(2 * _features, 128), None)):
                    _name = f"{ALLEGRO}{_kind}l{_order}-{'parity' if _parity else 'plain'}-{_features}-{_depth}layers"
                    CELLS[_name] = {
                        "l_max": _order, "parity": _parity, "num_tensor_features": _features, "num_layers": _depth,
                        "num_scalar_features": _width, "allegro_mlp_hidden_layers_width": _width,
                        "scalar_embed_mlp_hidden_layers_width": _width,
                        "readout_mlp_hidden_layers_width": _readout or _width,
                        "radial_chemical_embed": {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed"},
                    }  # fmt: skip
for _layers in (2, 4, 5):
    CELLS[f"l1-plain-32-{_layers}layers"] = {"num_features": 32, "num_layers": _layers}
    CELLS[f"l2-parity-32-{_layers}layers"] = {"l_max": 2, "parity": True, "num_features": 32, "num_layers": _layers}
_INPUTS = ["pos", "edge_index", "atom_types", "cell", "edge_cell_shift"]
_OUTPUTS = ["atomic_energy", "total_energy", "forces", "stress"]
#: Above this time for one evaluation of the package only few rounds are made.
_SLOW_MS = 2000.0
#: Differences of forces above this share of the largest: the kept package is of another model.
_SAME_MODEL = 1e-3
#: A round calls each candidate for about this long, as a simulation does.
_BLOCK_MS = 30.0


def make(cell: str, dtype: str):
    """The model of a cell, in evaluation mode."""
    if cell.startswith(ALLEGRO):
        from allegro.model import AllegroModel as build
    else:
        from nequip.model import NequIPGNNModel as build
    from nequip.utils.global_state import set_global_state

    set_global_state()
    options = {"l_max": 1, "parity": False, "model_dtype": dtype, "seed": 1, "avg_num_neighbors": 50.0} | CELLS[cell]
    model = build(
        r_max=CUTOFF, type_names=["H", "O"], per_type_energy_scales=1.0, per_type_energy_shifts=0.0, **options
    )
    model.eval()
    return model.requires_grad_(False)


def water(n_atoms: int, pairwise: bool = False) -> list[torch.Tensor]:
    """Positions, types, edges, shifts and cell of water: a droplet of at most 24 atoms, or a box.

    The edges come in the order in which a simulation gives them to a package or (``pairwise``) to the fused kernels.
    """
    from openmm_nequip.graph.neighbors import NeighborList

    rng = np.random.default_rng(0)
    per_side = round((n_atoms / 3) ** (1 / 3) + 0.499)
    spacing = 3.107
    sites = np.stack(np.meshgrid(*[np.arange(per_side)] * 3), -1).reshape(-1, 3)
    sites = sites[rng.permutation(len(sites))[: -(-n_atoms // 3)]] * spacing
    positions, types = [], []
    for site in sites:
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        molecule = np.array([[0, 0, 0], [0.957, 0, 0], [-0.24, 0.927, 0]]) @ axes
        positions.append(site + rng.normal(0, 0.1, 3) + molecule)
        types += [1, 0, 0]
    positions, types = np.concatenate(positions)[:n_atoms], np.array(types)[:n_atoms]
    periodic = n_atoms > 24
    # The box holds the molecules at the density of water, whatever part of the lattice they fill.
    side = spacing * per_side if periodic else 100.0
    cell = np.eye(3) * side
    edges, shifts = NeighborList(CUTOFF, 0.0, periodic, pairwise=pairwise)(positions, cell)
    arrays = positions, types, edges, shifts, cell
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def compile_package(cell: str, dtype: str, path: Path) -> None:
    """The package as nequip-compile makes it for ASE."""
    from nequip.utils.aot import aot_export_model

    positions, types, edges, shifts, box = water(96)
    data = dict(zip(_INPUTS, [positions, edges, types, box.view(1, 3, 3), shifts], strict=True))
    dim = torch.export.dynamic_shapes.Dim
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        output = Path(scratch) / path.name
        aot_export_model(
            model=make(cell, dtype), device=torch.device("cpu"), input_fields=_INPUTS, output_fields=_OUTPUTS,
            data=data, output_path=str(output),
            batch_map={
                "graph": torch.export.Dim.STATIC,
                "node": dim("num_nodes", min=2, max=torch.inf),
                "edge": dim("num_edges", min=2, max=torch.inf),
            },
        )  # fmt: skip
        output.replace(path)


def fused_steps(model) -> tuple[dict[str, object], dict]:
    """The fused model with tables and without, and the facts about its tables."""
    from openmm_nequip.kernels.cpu.library import Step
    from openmm_nequip.kernels.fuse import fuse
    from openmm_nequip.models.fused import open_kernels
    from openmm_nequip.upstream.nequip_state import default_dtype

    steps, facts = {}, {}
    for name, tables in (("fused", True), ("fused, exact radial", False)):
        with default_dtype(torch.float64):
            made = fuse(model, tables)
        steps[name] = Step(open_kernels(made))
        facts = facts or made.facts
    return steps, facts


def allegro_operations(program, degree: int) -> float:
    """The same as :func:`operations` of an Allegro model with tables of a degree; activations are not counted."""
    from openmm_nequip.kernels.pair_functions import hidden_form, two_body_matrix

    networks = [hidden_form(mlp) for mlp in (*program.latents, program.readout)]
    harmonics, channels = program.n_orders**2, program.n_channels
    inputs = [network.matrices[0].shape[1] for network in networks]
    total = 4.0 * degree * two_body_matrix(program).shape[1]
    for k, network in enumerate(networks):
        total += 4.0 * sum(matrix.size for matrix in network.matrices[1:-1])
        if k < len(program.latents):
            hidden = network.matrices[-1].shape[0]
            environment = channels if k == 0 else networks[k - 1].matrices[-1].shape[0]
            total += 4.0 * (channels * inputs[k] + hidden * sum(inputs[k + 1 :]))
            total += harmonics * (6.0 * environment + 8.0 * channels) + 5.0 * program.n_orders * channels
    return total


def allegro_atom_operations(program) -> float:
    """The same per atom: tensor products of every layer, and maps onto environments."""
    total = 0.0
    for k in range(len(program.products)):
        for q in range(k + 1):
            table = program.products[q].couplings[..., :1] if q == k else program.products[q].couplings
            pairs = np.count_nonzero(table.any(axis=1))
            total += program.n_channels * (4.0 * np.count_nonzero(table) + 6.0 * pairs)
        if k:
            hidden = program.latents[k - 1].matrices[-1].shape[0]
            total += 4.0 * program.n_orders**2 * hidden * program.n_channels
    return total


def operations(program, facts: dict) -> float:
    """Floating-point operations per edge of the fused step with tables: those of its loops, not what they replace."""
    from openmm_nequip.kernels.allegro_program import AllegroProgram
    from openmm_nequip.kernels.harmonics import coupling

    if isinstance(program, AllegroProgram):
        return allegro_operations(program, facts["degree"])
    total = 0.0
    for k, layer in enumerate(program.layers):
        for path in layer.paths:
            channels = layer.inputs[path.block].mul
            table = coupling(path.l1, path.l2, path.l3)
            matrix, products = np.count_nonzero(table.any(axis=1)), np.count_nonzero(table)
            forward = 10 + 2 * matrix + 2 * (2 * path.l3 + 1)
            backward = 18 + matrix + 2 * products + 4 * (2 * path.l2 + 1)
            backward += 2 * matrix + 2 * (2 * path.l1 + 1) if k else 0
            total += channels * (forward + backward)
    return total


def node_operations(program) -> float:
    """The same per atom: the linear maps, forward and backward."""
    from openmm_nequip.kernels.allegro_program import AllegroProgram

    if isinstance(program, AllegroProgram):
        return allegro_atom_operations(program)
    total = 0.0
    for k, layer in enumerate(program.layers):
        for maps, blocks in (
            (layer.first, layer.inputs),
            (layer.second, layer.middle),
            (layer.connection, layer.inputs),
        ):
            if k == 0 and maps is not layer.second:
                continue
            for entry in maps:
                total += 4.0 * entry.weights.shape[1] * entry.weights.shape[2] * (2 * blocks[entry.source].l + 1)
    return total


_PEAK = r"""
#include <cstdio>
#include <ctime>
#include <omp.h>
typedef REAL V __attribute__((vector_size(BYTES)));
int main(int, char**) {
  double best = 0;
  for (int round = 0; round < 20; round++) {
    const std::clock_t start = std::clock();  // of all threads together
    const long n = 3000000;
    double sink = 0;
#pragma omp parallel num_threads(THREADS) reduction(+ : sink)
    {
      V a[12], b = V{} + (REAL)0.999999, c = V{} + (REAL)1e-6;
      for (int i = 0; i < 12; i++) a[i] = V{} + (REAL)(i + omp_get_thread_num());
      for (long k = 0; k < n; k++)
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++) a[i] = a[i] * b + c;
      for (int i = 0; i < 12; i++) sink += a[i][0];
    }
    const double s = double(std::clock() - start) / CLOCKS_PER_SEC / THREADS;
    const double rate = 2.0 * 12 * n * (BYTES / sizeof(REAL)) * THREADS / s;
    if (rate > best && sink != 0.123) best = rate;
  }
  std::printf("%g\n", best);
}
"""


def peak_rate(dtype: str, threads: int) -> float:
    """Measured peak of fused multiply-adds in operations a second."""
    from openmm_nequip.cxx import find_compiler, missing_compiler
    from openmm_nequip.kernels.cpu.build import vector_bytes

    compiler = find_compiler()
    if compiler is None:
        raise SystemExit(missing_compiler())
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "peak.cpp", Path(folder) / "peak"
        source.write_text(_PEAK)
        defines = [f"-DREAL={'float' if dtype == 'float32' else 'double'}", f"-DBYTES={vector_bytes()}"]
        flags = ["-O3", "-march=native", "-fopenmp", "-ffp-contract=fast", f"-DTHREADS={threads}"]
        subprocess.run([*compiler, *flags, *defines, "-o", str(program), str(source)], check=True)
        return float(subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout)


def measure(
    cell: str, dtype: str, sizes: list[int], path: Path, rounds: int, threads: int, peak: float
) -> Iterator[dict]:
    """One row for each size."""
    from openmm_nequip.kernels.read import read_model
    from openmm_nequip.upstream.nequip_state import default_dtype

    model = make(cell, dtype)
    package = torch._inductor.aoti_load_package(str(path))
    steps, facts = fused_steps(model)
    with default_dtype(torch.float64):
        program = read_model(model)
    per_edge, per_atom = operations(program, facts), node_operations(program)
    for size in sizes:
        graph = water(size)
        positions, types, edges, shifts, box = graph
        inputs = [positions, edges, types, box.view(1, 3, 3), shifts]
        arrays = [tensor.numpy() for tensor in water(size, pairwise=True)]

        def run_package(inputs=inputs):
            return package(inputs)

        clock = time.thread_time if threads == 1 else time.perf_counter
        first = interleaved({"package": run_package}, 1, warmup=1)["package"][0]
        count = rounds if first < _SLOW_MS else 3
        candidates = {"package": run_package}
        for name, step in steps.items():
            step(*arrays, threads)
            candidates[name] = lambda step=step, arrays=arrays: step(*arrays, threads, True)
        warmup = 2 if first < _SLOW_MS else 1
        times = interleaved(candidates, count, warmup=warmup, block_ms=_BLOCK_MS, clock=clock)
        reference = dict(zip(_OUTPUTS, run_package(), strict=True))
        forces = reference["forces"].numpy()
        row = {"cell": cell, "dtype": dtype, "atoms": size, "edges": edges.shape[1], "rounds": count}
        for name, values in times.items():
            row[name] = {"median_ms": float(np.median(values)), "ratio": float(np.median(times["package"] / values))}
        for name, step in steps.items():
            found = step(*arrays, threads)
            row[name]["force_error"] = float(np.abs(found[1] - forces).max())
            off = np.abs(found[0] - reference["atomic_energy"].double().numpy().ravel()).max()
            row[name]["energy_error"] = float(off)
        row["force_scale"] = float(np.abs(forces).max())
        if row["fused"]["force_error"] > _SAME_MODEL * row["force_scale"]:
            raise SystemExit(f"{path.name} is of another model than {cell}: delete it, and it is compiled anew")
        work = per_edge * edges.shape[1] + per_atom * size
        row["fused"]["peak_share"] = work / (row["fused"]["median_ms"] * 1e-3) / peak
        took = row["package"]["median_ms"]
        print(
            f"{cell:24s} {dtype} {size:6d} atoms {edges.shape[1]:8d} edges  package {took:10.2f} ms"
            f"  fused {row['fused']['median_ms']:9.3f} ms  x{row['fused']['ratio']:6.1f}"
            f"  exact x{row['fused, exact radial']['ratio']:5.1f}  peak {100 * row['fused']['peak_share']:4.0f} %"
            f"  dF {row['fused']['force_error']:.1e} of {row['force_scale']:.1e}",
            flush=True,
        )
        yield row


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder for packages and kernels.json")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), metavar="NAME")
    parser.add_argument("--sizes", nargs="+", type=int, default=[22, 96, 768, 3072])
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile-only", action="store_true", help="make the packages and stop")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.one:
        for cell in arguments.cells:  # a process each: compilers and packages keep what they have taken
            command = [sys.executable, *sys.argv, "--one"]
            at = command.index("--cells") if "--cells" in command else None
            if at is not None:
                stop = next((i for i in range(at + 1, len(command)) if command[i].startswith("--")), len(command))
                del command[at:stop]
            subprocess.run([*command, "--cells", cell], check=False)
        if not arguments.compile_only:
            draw(arguments.output / "kernels.json")
            draw_allegro(arguments.output / "kernels.json", CELLS)
        return
    (cell,) = arguments.cells
    path = arguments.output / f"{cell}-{arguments.dtype}.nequip.pt2"
    if not path.exists():
        compile_package(cell, arguments.dtype, path)
    if arguments.compile_only:
        return
    peak = peak_rate(arguments.dtype, arguments.threads)
    results = arguments.output / "kernels.json"
    # After each size: the package of a large model may end the process for want of memory at the next one.
    for row in measure(cell, arguments.dtype, arguments.sizes, path, arguments.rounds, arguments.threads, peak):
        stored = json.loads(results.read_text()) if results.exists() else {"rows": []}
        key = cell, arguments.dtype, row["atoms"]
        kept = [old for old in stored["rows"] if (old["cell"], old["dtype"], old["atoms"]) != key]
        stored = {"environment": environment(), "peak_gflops": peak / 1e9, "rows": [*kept, row]}
        results.write_text(json.dumps(stored, indent=1))


if __name__ == "__main__":
    main()
