"""What the emulator says of the GPU kernels when a barrier is taken away, for each of them.

    python benchmarks/gpu_barriers.py [--warps 1 4] [--models plain wide]

A step runs with all barriers, where no two threads may meet in a group's memory, and then without each in turn, in a
process of its own, because a wrong index may end it. Printed: where the barrier stands and what shows that it is gone:
threads that meet (exact, whatever the order was), another result, or threads that wait for ever. A barrier that
nothing shows holds no two threads apart; it is not needed, or these models and boxes are too small for it.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gpu_emulator import Emulator
from gpu_models import ROOT
from gpu_steps import Atoms, GpuStep

from openmm_nequip.cxx import find_compiler
from openmm_nequip.kernels.fuse import Fused, fuse
from openmm_nequip.kernels.gpu import gpu_target
from openmm_nequip.kernels.gpu.gpu_generate import KernelFacts
from openmm_nequip.upstream.nequip_state import default_dtype

sys.path.insert(0, str(ROOT / "tests"))
from nequip_models import make_model, structure  # noqa: E402

sys.path.remove(str(ROOT / "tests"))

#: The models: one whose channels fit into a warp and whose readout is a product; one with two slices of channels and a
#: readout network, so that a team's warps read what others wrote everywhere that they can; one whose radial networks
#: are evaluated, and one with cutoffs that depend on the direction of an edge besides, and with repulsion.
MODELS = {
    "plain": {"num_features": [6, 4], "num_layers": 2, "noise": 0.05},
    "wide": {
        "num_features": [40, 4], "num_layers": 2, "noise": 0.05, "readout_mlp_hidden_layers_depth": 2,
        "readout_mlp_hidden_layers_width": 40, "readout_mlp_nonlinearity": "silu",
    },
    "exact": {"num_features": [6, 4], "num_layers": 2, "noise": 0.05, "radial_mlp_depth": 2},
    "exact, by direction": {
        "num_features": [6, 4], "num_layers": 2, "noise": 0.05, "radial_mlp_depth": 2, "zbl": True,
        "bessel_trainable": True, "per_edge_type_cutoff": {"H": 3.0, "C": {"H": 3.5, "C": 4.0, "O": 3.2}},
    },
}  # fmt: skip
#: Many blocks of edges an atom; several cells; atoms without any neighbour.
BOXES = {
    "dense": ({"n_atoms": 14, "side": 5.0}, 2.0),
    "wide": ({"n_atoms": 40, "side": 14.5}, 0.5),
    "sparse": ({"n_atoms": 5, "side": 30.0}, 0.5),
}
_SLOTS, _GROUPS = 160, 3
#: eV and eV/Å: less is no other result.
SAME = 1e-8


@dataclass(frozen=True)
class Removed:
    """A barrier that was taken away.

    Parameters
    ----------
    kernel : str
        Where it stands.
    line : int
        Line of the text.
    name : str
        Of the barrier.
    shown : str
        What shows that it is gone; empty if nothing does.
    """

    kernel: str
    line: int
    name: str
    shown: str


@functools.cache
def model_of(name: str) -> torch.nn.Module:
    """nequip's module of a model of :data:`MODELS`."""
    return make_model(**MODELS[name])


@functools.cache
def fused_of(name: str, warps: int) -> Fused:
    """Its kernels and weights."""
    with default_dtype(torch.float64):
        return fuse(model_of(name), not name.startswith("exact"), gpu_target(warps))


@functools.cache
def emulator_of(name: str, warps: int) -> Emulator:
    """The emulator with its kernels."""
    source = fused_of(name, warps).source
    with tempfile.TemporaryDirectory() as folder:  # it is loaded, the file is needed no more
        return Emulator(source, "double", KernelFacts.of(source).atoms, Path(folder), find_compiler()[0])


def run_box(name: str, warps: int, box: str) -> tuple[float, np.ndarray, int]:
    """Energy, forces (n_atoms, 3) and meetings of threads in a step of a box of :data:`BOXES`."""
    options, skin = BOXES[box]
    machine = emulator_of(name, warps)
    machine.races()
    step = GpuStep(
        machine, fused_of(name, warps), Atoms(*structure(**options)), "double", skin, slots=_SLOTS, groups=_GROUPS
    )
    return (*step.run(), machine.races())


def without(name: str, warps: int, box: str, barrier: int, whole: tuple[float, np.ndarray, int]) -> str:
    """What shows that a barrier is gone, in a process that may die of it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        emulator_of(name, warps).skip(barrier)
        try:
            energy, forces, races = run_box(name, warps, box)
            right = abs(energy - whole[0]) <= SAME and bool((np.abs(forces - whole[1]) <= SAME).all())
            found = ["threads meet"] * (races > 0) + ["another result"] * (not right)
        except RuntimeError:
            found = ["threads wait for ever"]
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return ", ".join(json.loads(text)) if text else "a wrong index"


def remove_each(name: str, warps: int) -> list[Removed]:
    """Each barrier of a model's kernels taken away in turn.

    Raises
    ------
    RuntimeError
        If threads meet although no barrier is missing.
    """
    found: dict[int, str] = {}
    barriers = emulator_of(name, warps).barriers
    for box in BOXES:
        whole = run_box(name, warps, box)
        if whole[2]:
            raise RuntimeError(f"{name}, {warps} warps an atom, {box}: threads meet in a group's memory")
        for number in range(len(barriers)):
            found[number] = found.get(number) or without(name, warps, box, number, whole)
    return [Removed(*barrier, found[number]) for number, barrier in enumerate(barriers)]


def main() -> None:
    """Print what shows each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--warps", nargs="+", type=int, default=[1, 4])
    given = parser.parse_args()
    for name in given.models:
        for warps in given.warps:
            removed = remove_each(name, warps)
            print(f"{name}, {warps} warps an atom: {sum(bool(one.shown) for one in removed)} of {len(removed)} shown")
            for one in removed:
                print(f"  {one.kernel:16s} {one.line:5d} {one.name:12s} {one.shown or 'NOTHING SHOWS IT'}", flush=True)


if __name__ == "__main__":
    main()
