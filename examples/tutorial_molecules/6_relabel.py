"""Step 6, frames of the production run: the molecule cut out of its water and labelled with GFN2-xTB.

The run is split in time: its first part to train on, the next to validate, its end to test.
"""

import argparse
from pathlib import Path

import ase.io
import mdtraj
import numpy as np
from common import labelled, load_molecule, reference
from tqdm import tqdm

#: Parts of the run, as fractions of its length. What lies between two of them is left out: frames close in time are
#: alike, and would make the test look better than it is.
PARTS = {"train": (0.0, 0.6), "val": (0.62, 0.7), "test": (0.75, 1.0)}


def molecule_frames(folder, count):
    """Positions of the molecule in every frame of a run, in angstrom, shape (frames, count, 3).

    The molecule's atoms come first, as `openmm-nequip run` puts the water behind them.
    """
    trajectory = mdtraj.load(f"{folder}/trajectory.dcd", top=f"{folder}/start.pdb")
    positions, box = trajectory.xyz[:, :count], trajectory.unitcell_lengths[:, None]
    # Every atom in the image that is nearest to the first one.
    vectors = positions - positions[:, :1]
    return 10.0 * (vectors - box * np.round(vectors / box))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="run", help="folder of the production run; the files begin with its name")
    options = parser.parse_args()

    _, molecule = load_molecule()
    positions = molecule_frames(options.run, len(molecule))
    molecule.calc = reference()
    for name, part in PARTS.items():
        start, stop = (round(fraction * len(positions)) for fraction in part)
        frames = []
        for i in tqdm(range(start, stop), desc=name, mininterval=5):
            molecule.positions = positions[i]
            frames.append(labelled(molecule, i))
        ase.io.write(f"{options.run}_{name}.xyz", frames, format="extxyz")
        print(f"{options.run}_{name}.xyz: {len(frames)} frames")

    # Old frames and those of all runs together: a model that only sees the new ones forgets the old.
    for name in ("train", "val"):
        files = [Path(f"{name}.xyz"), *sorted(Path().glob(f"run*_{name}.xyz"))]
        frames = [frame for path in files for frame in ase.io.read(path, ":")]
        ase.io.write(f"all_{name}.xyz", frames, format="extxyz")
        print(f"all_{name}.xyz: {len(frames)} frames of {', '.join(map(str, files))}")


if __name__ == "__main__":
    main()
