"""Frames of the stage-1 model's own MD, labelled with GFN2-xTB and added to the training set.

Where the model is wrong in its favour (too low in energy) its own MD goes, so these are the frames it needs most. The
starts are training frames, drawn so that the torsion map is covered evenly.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import ase.io
import numpy as np
import torch
from ase import Atoms
from common import PDB, dihedral, gfn2, labelled, load_molecule
from md import Potential, compile_model, langevin
from tqdm import tqdm


def spread(angles, count, rng):
    """Indices of `count` frames that are far apart on the torsion map (farthest point sampling)."""
    points = np.concatenate([np.cos(np.radians(angles)), np.sin(np.radians(angles))], axis=1)
    chosen = [int(rng.integers(len(points)))]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


def run(pdb, compiled, start, temperature, times, seed):
    """One run and its labels, in a process of its own.

    Parameters
    ----------
    pdb, compiled : path-like
        The molecule and the compiled model.
    start : numpy.ndarray
        Positions in angstrom.
    temperature : float
        In kelvin.
    times : tuple
        Length of the run and time between the labelled frames, in ps.
    seed : int

    Returns
    -------
    list of ase.Atoms
        Labelled, with the model's energy error (eV) as `model_error`.
    """
    torch.set_num_threads(1)
    topology, molecule, _ = load_molecule(pdb)
    symbols = molecule.get_chemical_symbols()
    potential = Potential(compiled, symbols)
    every = round(times[1] * 2000)
    positions, _ = langevin(topology, potential, start, times[0], seed, temperature, every, f"seed {seed}")
    result = []
    for x in positions:
        try:
            frame = labelled(Atoms(symbols, x, calculator=gfn2()), f"model_{temperature:.0f}K")
        except Exception as error:  # an exploded geometry has no SCF solution; the others are still wanted
            tqdm.write(f"frame left out: {error}")
            continue
        frame.info["model_error"] = potential(np.ascontiguousarray(x))[0] - frame.get_potential_energy()
        result.append(frame)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="stage1.nequip.zip", help="package of the stage-1 model")
    parser.add_argument("--train", default="train.xyz")
    parser.add_argument("--output", default="train_relabelled.xyz", help="training set with the new frames")
    parser.add_argument("--runs", type=int, default=14)
    parser.add_argument("--picoseconds", type=float, default=3.0, help="length of each run")
    parser.add_argument("--every", type=float, default=0.1, help="ps between labelled frames")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[300.0, 300.0, 400.0], help="K, used in turn")
    parser.add_argument("--max-force", type=float, default=20.0, help="leave out frames with a larger force, eV/A")
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--pdb", default=str(PDB))
    options = parser.parse_args()

    _, _, torsions = load_molecule(options.pdb)
    compiled = options.model.replace(".nequip.zip", ".nequip.pt2")
    compile_model(options.model, compiled)

    rng = np.random.default_rng(options.seed)
    train = ase.io.read(options.train, ":")
    positions = np.array([frame.positions for frame in train])
    angles = np.stack([dihedral(positions, quadruple) for quadruple in torsions], axis=1)
    starts = spread(angles, options.runs, rng)
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        tasks = []
        for k, start in enumerate(starts):
            temperature = options.temperatures[k % len(options.temperatures)]
            task = (compiled, positions[start], temperature, (options.picoseconds, options.every), options.seed + k)
            tasks.append(pool.submit(run, options.pdb, *task))
        added = [frame for task in tasks for frame in task.result()]
    added = [frame for frame in added if np.abs(frame.get_forces()).max() < options.max_force]
    errors = np.array([frame.info.pop("model_error") for frame in added])
    print(f"{len(added)} frames; error of the stage-1 energy: mean {errors.mean():.3f}, std {errors.std():.3f} eV")
    ase.io.write(options.output, train + added, format="extxyz")


if __name__ == "__main__":
    main()
