"""Trajectories with edge lists of constant length against those without: as close as two runs of the same?

    python benchmarks/static_shapes.py [--steps 10000] [--box 0.9]

NVE of the shipped model, three times from the same start: as it is, through the padded lists and buffers that CUDA
graphs need (on the CPU every step is run instead of replayed), and once more as it is with the last bit of one
coordinate changed. The difference to the first is shown along the way. The molecule sits in a periodic box so small
that it sees its images: the number of edges then changes all the time.
"""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files

import numpy as np
import torch
from tqdm.auto import tqdm

from openmm_nequip import load_model
from openmm_nequip.app.bench.bench_systems import peptide
from openmm_nequip.evaluate.cuda_graphs import GraphedModel
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.graph.neighbors import DEFAULT_SKIN_NM
from openmm_nequip.units import Units

STEP_PS = 0.0005
SHOWN = (1, 10, 100, 300, 1000, 3000, 10_000)


class EveryStep:
    """Stands in for the recorder of CUDA graphs: runs the step each time, into the same memory."""

    def buffer(self, size: int) -> torch.Tensor:
        """Memory (size,) float64."""
        return torch.zeros(size, dtype=torch.float64)

    def record(self, step):
        """The step, to be run instead of replayed."""
        self.replay = step
        return self

    def wait(self) -> None:
        """Nothing to wait for."""


def trajectory(evaluator: Evaluator, bench, positions: np.ndarray, box: np.ndarray, steps: int, name: str) -> dict:
    """Positions in nm at :data:`SHOWN` and total energies in kJ/mol of velocity Verlet."""
    masses, velocities = bench.masses[:, None], bench.velocities.copy()
    _, forces = evaluator(positions, box)
    kept, totals = {}, []
    for step in tqdm(range(1, steps + 1), desc=name, leave=False, disable=None):
        velocities = velocities + 0.5 * STEP_PS * forces / masses
        positions = positions + STEP_PS * velocities
        energy, forces = evaluator(positions, box)
        velocities = velocities + 0.5 * STEP_PS * forces / masses
        totals.append(energy + 0.5 * float((masses * velocities**2).sum()))
        if step in SHOWN:
            kept[step] = positions
    return {"positions": kept, "totals": np.array(totals)}


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--box", type=float, default=0.9, help="side of the box, nm")
    arguments = parser.parse_args()
    bench = peptide()
    with as_file(files("openmm_nequip.data") / "alanine-dipeptide.nequip.zip") as path:
        model = load_model(str(path), kernels="none")
    types = np.array([model.info.type_names.index(symbol) for symbol in bench.symbols])
    layout, units, box = Placement(len(types), types), Units(), np.eye(3) * arguments.box
    graphed = GraphedModel(model, EveryStep())
    nudged = bench.positions_nm.copy()
    nudged[5, 1] = np.nextafter(nudged[5, 1], 1.0)
    runs = {}
    for name, runner, start in (
        ("as it is", model, bench.positions_nm),
        ("constant shapes", graphed, bench.positions_nm),
        ("last bit changed", model, nudged),
    ):
        evaluator = Evaluator(runner, units, layout, True, DEFAULT_SKIN_NM)
        runs[name] = trajectory(evaluator, bench, start, box, arguments.steps, name)
    plain = runs["as it is"]
    print(f"{len(types)} atoms, box {arguments.box} nm, {arguments.steps} steps of {STEP_PS} ps, {model.info.dtype}")
    print("largest difference of a coordinate to the first run, nm")
    print(f"{'step':>8s}" + "".join(f"{name:>22s}" for name in list(runs)[1:]))
    for step in plain["positions"]:
        reference = plain["positions"][step]
        apart = [np.abs(run["positions"][step] - reference).max() for run in list(runs.values())[1:]]
        print(f"{step:8d}" + "".join(f"{value:22.1e}" for value in apart))
    for name, run in runs.items():
        tenth = len(run["totals"]) // 10
        drift = run["totals"][-tenth:].mean() - run["totals"][:tenth].mean()
        print(f"{name:20s} total energy drifts by {drift:+.4f} kJ/mol, fluctuates by {run['totals'].std():.4f}")
    found = graphed.statistics()
    print(", ".join(f"{name} {found[name]}" for name in ("captures", "edges", "capacity", "candidates")))


if __name__ == "__main__":
    main()
