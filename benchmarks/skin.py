"""Which Verlet skin is fastest: cost of the neighbour list along trajectories, skins interleaved frame by frame.

The model sees the same edges whatever the skin, so the list's own time decides. Run: ``python benchmarks/skin.py``.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from timing import finish
from tqdm.auto import tqdm

import openmm_nequip  # noqa: F401  before openmm
from openmm_nequip.graph.neighbors import NeighborList

SKINS_NM = (0.0, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2)
CUTOFF_NM = 0.5


def trajectory(n_waters: int, frames: int, step_ps: float) -> tuple[np.ndarray, np.ndarray]:
    """Flexible TIP3P water at 300 K: positions (frames, n, 3) and box (3, 3) in nm."""
    forcefield = app.ForceField("amber14/tip3p.xml")
    modeller = app.Modeller(app.Topology(), [])
    side = (n_waters / 33.4) ** (1 / 3)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(side, side, side))
    cutoff = min(0.9, 0.49 * side)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=cutoff, constraints=None, rigidWater=False
    )
    integrator = openmm.LangevinMiddleIntegrator(300, 1, step_ps)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"))
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
    context.setVelocitiesToTemperature(300, 1)
    integrator.step(500)
    found = []
    for _ in tqdm(range(frames), desc=f"{n_waters} waters", leave=False, disable=None):
        integrator.step(1)
        found.append(context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    return np.array(found), np.array([v.value_in_unit(unit.nanometer) for v in system.getDefaultPeriodicBoxVectors()])


def main() -> None:
    """Time each skin on each trajectory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--waters", type=int, nargs="+", default=[32, 256, 1024])
    arguments = parser.parse_args()
    for n_waters in arguments.waters:
        frames, box = trajectory(n_waters, arguments.frames, 0.0005)
        lists = {skin: NeighborList(CUTOFF_NM, skin, True) for skin in SKINS_NM}
        spent = dict.fromkeys(SKINS_NM, 0.0)
        for positions in frames:
            for skin, neighbors in lists.items():
                start = time.perf_counter()
                neighbors(positions, box)
                spent[skin] += time.perf_counter() - start
        print(f"\n{frames.shape[1]} atoms, cutoff {CUTOFF_NM} nm, {len(frames)} steps of 0.5 fs")
        for skin, seconds in spent.items():
            print(f"skin {skin:5.3f} nm   {seconds / len(frames) * 1e3:8.3f} ms a step")
    finish([], False)


if __name__ == "__main__":
    main()
