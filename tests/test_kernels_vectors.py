"""Fused kernels on machines with other vectors, and what a compiler has to say of them."""

import platform
import subprocess

import numpy as np
import pytest
import torch
from kernel_checks import edges_of
from nequip_models import eager, make_allegro, make_model, structure

from openmm_nequip.cxx import find_compiler
from openmm_nequip.kernels.cpu.build import FLAGS
from openmm_nequip.kernels.cpu.generate import generate
from openmm_nequip.kernels.cpu.library import Library, Step
from openmm_nequip.kernels.read import read_model
from openmm_nequip.upstream.nequip_state import default_dtype

#: eV/Å of float32 models whose forces are of the order of 1 eV/Å, and of float64 ones with exact radial functions.
FORCE = {"float32": 1e-5, "float64": 1e-11}
FAMILIES = {"nequip": make_model, "allegro": make_allegro}
#: Bytes of a vector, and the compiler's name for a machine that has them: AVX2 with FMA, and SSE without.
MACHINES = [(32, "x86-64-v3"), (16, "x86-64-v2")]


def compiled(family, dtype, vector_bytes, flags, folder):
    model = FAMILIES[family](model_dtype=dtype, num_layers=2)
    with default_dtype(torch.float64):
        made = generate(read_model(model), None, vector_bytes)
    source, library = folder / "model.cpp", folder / "model.so"
    source.write_text(made.source)
    done = subprocess.run([*find_compiler(), *flags, "-o", library, source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return model, Step(Library(library, made.weights, made.constants)), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have other names for their vectors")
@pytest.mark.parametrize(("vector_bytes", "machine"), MACHINES)
@pytest.mark.parametrize(("family", "dtype"), [("nequip", "float32"), ("allegro", "float32"), ("allegro", "float64")])
def test_machines_with_shorter_vectors(family, dtype, vector_bytes, machine, tmp_path):
    flags = [flag if flag != "-march=native" else f"-march={machine}" for flag in FLAGS]
    model, step, _ = compiled(family, dtype, vector_bytes, flags, tmp_path)
    positions, types, cell = structure()
    edges = edges_of(positions, cell)
    expected = eager(model, positions, types, *edges, cell)
    found = step(positions, types, *edges, cell, 2)
    assert np.abs(found[1] - expected[1]).max() < FORCE[dtype] * max(1.0, np.abs(expected[1]).max())


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_compiler_has_no_complaint(family, tmp_path):
    """With its usual warnings, which the build switches off because compilers differ."""
    flags = [flag for flag in FLAGS if flag != "-w"] + ["-Wall"]
    _, _, messages = compiled(family, "float32", 32, flags, tmp_path)
    assert messages == ""
