"""Fused kernels inside packages of nequip-compile: for ASE, for OpenMM, from checkpoints and from packages."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import DATA
from nequip_models import structure

from openmm_nequip import load_model
from openmm_nequip.errors import ModifierError, NotFusableError
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.upstream.nequip_state import preserved_global_state

pytestmark = [pytest.mark.slow, pytest.mark.torchforce_stack]

#: Energy per atom (eV) and forces (eV/Å) of a float64 model, tables included; nequip builds its own neighbour list.
ENERGY_PER_ATOM = 1e-9
FORCE = 1e-8
STRESS = 1e-9


def nequip_compile(source, output, target, modifier, scratch):
    command = [
        sys.executable, "-m", "nequip.scripts.compile", str(source), str(output), "--mode", "aotinductor",
        "--device", "cpu", "--target", target, "--modifiers", modifier,
    ]  # fmt: skip
    environment = dict(os.environ, TORCHINDUCTOR_CACHE_DIR=str(scratch / "inductor"))
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def for_ase(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    output = folder / "fused.nequip.pt2"
    done = nequip_compile(DATA / "tiny-nequip.nequip.zip", output, "ase", "enable_FusedKernels", folder)
    assert done.returncode == 0, done.stderr
    return output


def test_ase_runs_the_fused_package(for_ase):
    """In a process that knows nothing of openmm_nequip before it opens the file."""
    positions, types, cell = structure(20, 2)
    symbols = load_model(DATA / "tiny-nequip.ckpt", compile=False).info.type_names
    given = {"positions": positions.tolist(), "cell": cell.tolist(), "symbols": [symbols[t] for t in types]}
    program = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "from ase import Atoms; from nequip.integrations.ase import NequIPCalculator\n"
        "given = json.load(sys.stdin)\n"
        "atoms = Atoms(given['symbols'], given['positions'], cell=given['cell'], pbc=True)\n"
        "atoms.calc = NequIPCalculator.from_compiled_model(sys.argv[1], device='cpu')\n"
        "print(json.dumps([atoms.get_potential_energy(), atoms.get_forces().tolist(), atoms.get_stress().tolist()]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(for_ase)], input=json.dumps(given), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    energy, forces, stress = json.loads(done.stdout.splitlines()[-1])
    model = load_model(DATA / "tiny-nequip.ckpt", compile=False)
    arrays = positions, types, *NeighborList(model.info.cutoff, 0.0, True)(positions, cell), cell
    expected = model(*[torch.from_numpy(np.ascontiguousarray(a)) for a in arrays])
    assert abs(energy - float(expected["energy"])) < ENERGY_PER_ATOM * len(types)
    assert np.abs(np.array(forces) - expected["forces"].numpy()).max() < FORCE
    tensor = -expected["virial"].numpy() / abs(np.linalg.det(cell))
    assert np.abs(np.array(stress) - tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]).max() < STRESS


def test_our_loader_runs_it_and_says_so(for_ase):
    model = load_model(for_ase)
    assert model.info.kernels.startswith("fused, radial networks in tables of")
    positions, types, cell = structure(20, 2)
    arrays = positions, types, *NeighborList(model.info.cutoff, 0.0, True)(positions, cell), cell
    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in arrays]
    expected = load_model(DATA / "tiny-nequip.ckpt", compile=False)(*tensors)
    assert (model(*tensors)["forces"] - expected["forces"]).abs().max() < FORCE


def test_a_model_that_cannot_be_fused_stops_the_compilation():
    """The modifier names the module and leaves the model as it was."""
    from openmm_nequip.models import locate
    from openmm_nequip.models.eager import load_module
    from openmm_nequip.models.fused_op import enable

    with preserved_global_state():
        model = load_module(locate(DATA / "tiny-nequip.ckpt"))
        inner = model.model
        layer = next(m for m in model.modules() if type(m).__name__ == "ConvNetLayer")
        layer.equivariant_nonlin = type("NormActivation", (torch.nn.Module,), {})()
        with pytest.raises(NotFusableError, match="NormActivation"):
            enable(model, tables=False)
    assert model.model is inner


def test_a_target_without_a_cell_is_refused():
    """That of LAMMPS' pair_allegro, whose files have no Python to run the kernels either."""
    from openmm_nequip.models.fused_op import FusedOutput

    data = {"pos": torch.zeros(2, 3), "edge_index": torch.zeros(2, 2), "atom_types": torch.zeros(2)}
    with pytest.raises(ModifierError, match="need edge_cell_shift, cell, which this compile target does not give"):
        FusedOutput.forward(None, data)


@pytest.mark.parametrize("name", ["tiny-nequip", "tiny-allegro"])
def test_the_modifier_without_tables_on_a_checkpoint(name):
    """In this process: what nequip-compile would trace."""
    from openmm_nequip.models import locate
    from openmm_nequip.models.compiling.example import example_graph
    from openmm_nequip.models.eager import load_module
    from openmm_nequip.models.fused_op import enable

    with preserved_global_state():
        plain = load_module(locate(DATA / f"{name}.ckpt"))
        fused = enable(load_module(locate(DATA / f"{name}.ckpt")), tables=False)
        data = example_graph(2, 4.0)
        expected, found = plain(dict(data)), fused(dict(data))
        for field, limit in (("forces", 1e-11), ("atomic_energy", 1e-11), ("stress", 1e-12), ("virial", 1e-9)):
            assert (found[field] - expected[field]).abs().max() < limit, field
        assert fused.metadata["openmm_nequip_kernels"] == "fused, radial networks exact"
