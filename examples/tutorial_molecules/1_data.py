"""Step 1, data: geometries of the molecule in vacuum with GFN2-xTB energies and forces, as extended XYZ.

Each file comes from trajectories of its own, so no test frame is the neighbour in time of a training frame.
"""

import argparse

import ase.io
import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from common import labelled, load_molecule, reference
from tqdm import tqdm

TEMPERATURES = (300.0, 500.0)  # K; half of the frames each
TIMESTEP = 0.5  # fs
EQUILIBRATION = 200  # steps before the first frame
EVERY = 40  # steps between frames: 20 fs


def trajectory(temperature, count, seed):
    """Frames of one GFN2-xTB Langevin run.

    Parameters
    ----------
    temperature : float
        In kelvin.
    count : int
        Number of frames.
    seed : int

    Returns
    -------
    list of ase.Atoms
        With energy and forces.
    """
    rng = np.random.default_rng(seed)
    _, atoms = load_molecule()
    atoms.calc = reference()
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    bath = {"temperature_K": temperature, "friction": 0.01 / units.fs, "rng": rng, "fixcm": False}
    dynamics = Langevin(atoms, TIMESTEP * units.fs, **bath)
    dynamics.run(EQUILIBRATION)
    frames = []
    for i in tqdm(range(count), desc=f"{temperature:.0f} K, seed {seed}", mininterval=5):
        dynamics.run(EVERY)
        frames.append(labelled(atoms, i))
    return frames


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=300, help="training frames")
    parser.add_argument("--val", type=int, default=40, help="validation frames")
    parser.add_argument("--test", type=int, default=80, help="test frames")
    options = parser.parse_args()

    for number, name in enumerate(("train", "val", "test")):
        frames = []
        for i, temperature in enumerate(TEMPERATURES):
            count = getattr(options, name) // len(TEMPERATURES)
            frames += trajectory(temperature, count, seed=10 * number + i + 1)
        ase.io.write(f"{name}.xyz", frames, format="extxyz")
        print(f"{name}.xyz: {len(frames)} frames")


if __name__ == "__main__":
    main()
