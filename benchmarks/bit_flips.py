"""Flipped bits in model files: each must be noticed, or change no number.

    python benchmarks/bit_flips.py MODEL... [--flips 200] [--seed 1]

A copy of the file with one flipped bit is opened and evaluated. ``refused``: the file was called damaged or is no model
any more; ``harmless``: energy and forces are the same to the last bit; ``changed``: another number, or a crash, which
must not be. One JSON document on stdout.
"""

import argparse
import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import torch

from openmm_nequip import ModelFileError, load_model
from openmm_nequip.models import locate
from openmm_nequip.models.compiling.example import example_graph


def answer(path):
    """Energy and forces on a small structure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_model(path, compile=False)
    data = example_graph(len(model.info.type_names), model.info.cutoff)
    names = ("pos", "atom_types", "edge_index", "edge_cell_shift")
    out = model(*[data[name] for name in names], data["cell"][0])
    return float(out["energy"]), out["forces"]


def flip(content, place):
    """The bytes with one other bit."""
    spoiled = bytearray(content)
    spoiled[place // 8] ^= 1 << place % 8
    return bytes(spoiled)


def try_flips(path, flips, seed, folder):
    """What became of each flip in a model file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    flips, seed : int
        How many, and which.
    folder : pathlib.Path
        Where copies are written.

    Returns
    -------
    collections.Counter
        By ``refused``, ``harmless`` and ``changed``.
    list of str
        What changed, or messages that do not tell of damage.
    """
    content, draw, counts, worth_a_look = path.read_bytes(), random.Random(seed), Counter(), []
    energy, forces = answer(path)
    copy = folder / path.name
    for place in draw.sample(range(8 * len(content)), flips):
        copy.write_bytes(flip(content, place))
        try:
            locate(copy)
            found = answer(copy)
        except ModelFileError as error:
            counts["refused"] += 1
            if not any(word in str(error) for word in ("damaged", "truncated", "not a model", "no zip archive")):
                worth_a_look.append(f"bit {place}: {error}")
            continue
        same = found[0] == energy and torch.equal(found[1], forces)
        counts["harmless" if same else "changed"] += 1
        if not same:
            worth_a_look.append(f"bit {place}: energy {found[0]!r} instead of {energy!r}")
    return counts, worth_a_look


def main():
    """Try the files of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--flips", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    document = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in arguments.models:
            counts, worth_a_look = try_flips(path, arguments.flips, arguments.seed, Path(folder))
            document[path.name] = {**counts, "worth_a_look": worth_a_look}
    print(json.dumps(document, indent=2))
    return int(any(entry.get("changed") for entry in document.values()))


if __name__ == "__main__":
    sys.exit(main())
