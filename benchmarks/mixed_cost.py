"""What a small model region costs in a large box of water: a hybrid MD step beside the force field and the model alone.

    python benchmarks/mixed_cost.py --model FOLDER/water.nequip.zip [--atoms 30000] [--region 51] [--rounds 15]

``--model`` is what ``water_model.py`` writes. The region is the water molecules next to the middle of the box,
treated by the model; the others and their interaction with the region are flexible TIP3P with PME. CPU platform, in
turn in one process; with the fused kernels and with nequip's compiled package.
"""

from __future__ import annotations

import argparse

import numpy as np
import openmm.app as app
import openmm.unit as unit
import torch
from langevin import stepper
from openmmml import MLPotential
from timing import finish, interleaved, report

from openmm_nequip.app.bench.bench_systems import water

#: A round calls each candidate for about this long, as a simulation does.
_BLOCK_MS = 500.0


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--atoms", type=int, default=30_000)
    parser.add_argument("--region", type=int, default=51, help="atoms of the region, three a molecule")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = water(arguments.atoms // 3)
    positions = bench.positions_nm
    forcefield = app.ForceField("amber14/tip3p.xml")
    mm = forcefield.createSystem(
        bench.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9 * unit.nanometer, constraints=None,
        rigidWater=False,
    )  # fmt: skip
    oxygens = positions[::3]
    nearest = np.argsort(np.linalg.norm(oxygens - np.diag(bench.box_nm) / 2, axis=1))[: arguments.region // 3]
    region = sorted(int(3 * molecule + k) for molecule in nearest for k in range(3))
    candidates = {"force field alone": stepper(mm, positions, "CPU", arguments.threads)}
    for kernels in ("fused", "none"):
        potential = MLPotential("nequip", modelPath=arguments.model)
        mixed = potential.createMixedSystem(bench.topology, mm, region, kernels=kernels)
        candidates[f"hybrid, kernels={kernels}"] = stepper(mixed, positions, "CPU", arguments.threads)
        alone = app.Modeller(bench.topology, positions)
        inside = set(region)
        alone.delete([atom for atom in alone.topology.atoms() if atom.index not in inside])
        alone.topology.setPeriodicBoxVectors(None)
        model = potential.createSystem(alone.topology, kernels=kernels)
        candidates[f"model alone, kernels={kernels}"] = stepper(model, positions[region], "CPU", arguments.threads)
    times = interleaved(candidates, arguments.rounds, warmup=5, block_ms=_BLOCK_MS)
    title = f"{len(positions)} atoms of water, {len(region)} of them by the model"
    finish([report(title, times, "force field alone", arguments.json)], arguments.json)


if __name__ == "__main__":
    main()
