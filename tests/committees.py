"""Models that make committees: Lennard-Jones potentials of several sizes and cutoffs, cheap, healthy in dynamics."""

from __future__ import annotations

import warnings

import torch
from toy import CUTOFF_NM, EPSILON_KJ_PER_MOL, SIGMA_NM, LennardJones

KJ_PER_MOL_PER_EV = 96.48533212331002
#: Size, strength and cutoff of four models, as factors of the toy model's.
FOUR = ((1.0, 1.0, 1.0), (0.97, 1.3, 0.8), (0.99, 0.8, 0.9), (0.95, 1.1, 0.7))


def write_member(path, size=1.0, strength=1.0, reach=1.0, types="H C N O Ar", dtype="float64", name="r_max",
                 per_nm=10.0, per_kj=1 / KJ_PER_MOL_PER_EV):
    """A scripted Lennard-Jones model, in Å and eV unless told otherwise; its path as a text."""
    cutoff = per_nm * CUTOFF_NM * reach
    module = LennardJones(per_nm * SIGMA_NM * size, EPSILON_KJ_PER_MOL * per_kj * strength, cutoff)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls scripting deprecated; the files it makes are supported
        extra = {name: str(cutoff), "type_names": types, "model_dtype": dtype, "allow_tf32": "0"}
        torch.jit.save(torch.jit.script(module), str(path), _extra_files=extra)
    return str(path)


def write_four(folder, reach=1.0, **units):
    """Paths of four models in a folder."""
    return [
        write_member(folder / f"{name}.nequip.pth", size, strength, reach * cutoff, **units)
        for name, (size, strength, cutoff) in zip("abcd", FOUR, strict=True)
    ]
