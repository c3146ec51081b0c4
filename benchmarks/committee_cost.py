"""Steps of MD by a committee of N models against N times the steps of one: what being together costs.

    python benchmarks/committee_cost.py [--models 4] [--atoms 22 96 768] [--rounds 15]

All are in one process and take turns, on one thread; time is that of the process, so that others on the machine count
for nothing. The committee is the shipped model N times (they share their weights, and each has its own memory), alone
and on the peptide in a hybrid System, whose graph is made anew at each step. The ratio is the median over the rounds of
committee / (N x one model); with ``drive=0`` it is of one model's time.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import torch
from openmmml import MLPotential
from timing import interleaved

from openmm_nequip.app.bench.bench_systems import build_system

MODEL = Path(__file__).resolve().parent.parent / "openmm_nequip" / "data" / "alanine-dipeptide.nequip.zip"
BLOCK_MS = 60.0


def stepper(system, positions):
    """Takes five steps from near the start again and again."""
    integrator = openmm.LangevinMiddleIntegrator(300, 1.0, 0.0005)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return lambda: integrator.step(5), context


def hybrid_system(**model):
    """The shipped peptide by the model between its two methyl groups, which a force field describes."""
    pdb = app.PDBFile(str(MODEL.with_name("alanine-dipeptide.pdb")))
    forces = app.ForceField("amber14-all.xml").createSystem(pdb.topology)
    region = [atom.index for atom in pdb.topology.atoms() if atom.residue.name == "ALA"]
    potential = MLPotential("nequip", backend="PythonForce", **model)
    return potential.createMixedSystem(pdb.topology, forces, region), pdb.positions


def cells(sizes, kernels):
    """Name of each system, and what makes it from the options of a model."""
    for atoms in sizes:
        bench = build_system(("H", "C", "N", "O"), atoms)

        def make(bench=bench, **model):
            potential = MLPotential("nequip", backend="PythonForce", kernels=kernels, **model)
            return potential.createSystem(bench.topology, removeCMMotion=False), bench.positions_nm

        yield f"{bench.n_atoms} atoms", make
    yield "hybrid, 10 of 22 atoms and 2 caps", hybrid_system


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--atoms", type=int, nargs="+", default=[22, 96, 768])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--kernels", default="fused")
    arguments = parser.parse_args()
    logging.getLogger("openmm_nequip").setLevel(logging.ERROR)  # that all models are the same
    torch.set_num_threads(1)
    count = arguments.models
    print(f"| system | one, ms/step | {count} models, ms/step | ratio | drive=0, of one |\n|---|---|---|---|---|")
    for name, make in cells(arguments.atoms, arguments.kernels):
        runs = {
            "one": stepper(*make(modelPath=MODEL)),
            "mean": stepper(*make(committee=[MODEL] * count)),
            "first": stepper(*make(committee=[MODEL] * count, drive=0)),
        }
        candidates = {key: step for key, (step, _) in runs.items()}
        times = interleaved(candidates, arguments.rounds, 3, BLOCK_MS, time.process_time)
        one, mean, first = (times[key] / 5 for key in ("one", "mean", "first"))
        ratios = [float(np.median(mean / (count * one))), float(np.median(first / one))]
        print(
            f"| {name} | {np.median(one):.4f} | {np.median(mean):.4f} | {ratios[0]:.3f} | {ratios[1]:.3f} |", flush=True
        )


if __name__ == "__main__":
    main()
