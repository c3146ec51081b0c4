"""The compile targets that nequip finds: registered without a trace, robust, and fit for the frames people train on.

The files they make are tested with all others in ``test_artefacts.py``.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest
import torch
import torch._inductor.config as inductor
from conftest import DATA

from openmm_nequip import load_model
from openmm_nequip.models.compiling.targets import (
    INPUT_FIELDS,
    TARGETS,
    dynamic_shapes,
    example_structure,
    single_structure,
)

pytestmark = pytest.mark.torchforce_stack

NAMES = {"openmm", "openmm-full"}
#: Two atoms with and two without a common edge, model lengths; one frame as nequip's ASE reader gives it.
MOLECULE = {
    "pos": torch.tensor([[0.0, 0, 0], [1.1, 0, 0], [0, 1.2, 0]]),
    "edge_index": torch.tensor([[0, 1, 0, 2], [1, 0, 2, 0]]),
    "atom_types": torch.tensor([0, 1, 1]),
    "pbc": torch.tensor([[False, False, False]]),
}


def python(code):
    """Run code in a fresh process, with warnings that name a faulty import as errors; stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", code], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_nequip_is_told_of_the_extension():
    found = {point.value: point.name for point in entry_points(group="nequip.extension")}
    assert found.get("openmm_nequip") == "init_always", "install the package again: pip install -e ."


@pytest.mark.slow
@pytest.mark.parametrize("first", ["nequip", "openmm_nequip", "openmmml", "openmm_nequip.nequip_extension"])
def test_every_order_of_imports_works_quietly(first):
    """And both ends work: the target in nequip, the potential in OpenMM-ML."""
    out, err = python(
        f"import {first}, sys; early = [name for name in ('openmm', 'openmm_nequip.models') if name in sys.modules]\n"
        "import nequip, openmmml, openmm_nequip\n"
        "from nequip.scripts._compile_utils import COMPILE_TARGET_DICT as targets\n"
        "from openmmml import MLPotential\n"
        f"potential = MLPotential('nequip', modelPath={str(DATA / 'tiny-nequip.ckpt')!r})\n"
        "print(early, type(potential._impl).__name__, *dict(targets['openmm'])['output'])\n"
    )
    early = ["openmm"] if first == "openmmml" else []  # nequip and this package bring none
    assert out == f"{early} NequIPPotentialImpl total_energy forces\n"
    assert err == ""


@pytest.mark.slow
def test_nequip_works_where_openmm_does_not():
    """Its commands keep working, our target among them."""
    out, _ = python(
        "import sys\n"
        "sys.modules['openmm'] = None\n"
        "import nequip, nequip.scripts.train, nequip.scripts.package\n"
        "from nequip.utils import get_current_code_versions\n"
        "from nequip.scripts._compile_utils import COMPILE_TARGET_DICT as targets\n"
        "print('openmm' in targets, targets['ase']['output'][1])\n"
        "print(get_current_code_versions(verbose=False)['openmm_nequip'])\n"
        "print(*targets['openmm']['input'])\n"
    )
    lines = out.splitlines()
    assert lines[0] == "True total_energy" and lines[1] == version("openmm-nequip")
    assert lines[2].split() == INPUT_FIELDS


def test_names_registered_are_those_there_are():
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT

    assert set(TARGETS) == NAMES <= set(COMPILE_TARGET_DICT)
    for name in NAMES:
        assert dict(COMPILE_TARGET_DICT[name]) == TARGETS[name]


def test_threads_stay_open_while_compiling_and_settings_come_back():
    before = inductor.cpp.dynamic_threads
    metadata = {"r_max": "4.0"}  # found by name, as nequip-compile's
    given = dynamic_shapes() | {"graph": "any"}
    batch_map = single_structure(given)
    assert inductor.cpp.dynamic_threads is True
    assert batch_map["graph"] == torch.export.Dim.STATIC and batch_map["node"] is given["node"]
    assert metadata["r_max"] == "4.0" and metadata["torch_version"] == torch.__version__
    del batch_map
    gc.collect()
    assert inductor.cpp.dynamic_threads == before


@pytest.mark.parametrize("cell", [None, "zero", "box"])
def test_any_frame_can_be_traced(cell):
    """Molecules without a cell or with ASE's zero one: all fields there, every output finite."""
    data = dict(MOLECULE)
    if cell is not None:
        data["cell"] = torch.zeros(1, 3, 3) if cell == "zero" else torch.eye(3).view(1, 3, 3) * 20
        data["edge_cell_shift"] = torch.zeros(4, 3)
    if cell == "box":  # as the data loader adds them
        data |= {"batch": torch.zeros(3, dtype=torch.int64), "num_atoms": torch.tensor([3])}
    data["edge_index"] = data["edge_index"].t().contiguous().t()
    example = example_structure(data)
    assert list(example) == INPUT_FIELDS
    assert all(tensor.is_contiguous() for tensor in example.values())
    assert {str(tensor.dtype) for tensor in example.values()} == {"torch.float64", "torch.int64"}
    assert (example["edge_cell_shift"] == 0).all() and example["edge_cell_shift"].shape == (4, 3)
    module = load_model(DATA / "tiny-nequip.ckpt", compile=False).module
    out = module({name: tensor.clone() for name, tensor in example.items()})
    for field in TARGETS["openmm-full"]["output"]:
        assert torch.isfinite(out[field]).all(), field


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_atoms": torch.tensor([1, 2])}, "has 2 frames; one is needed"),
        ({"cell": torch.zeros(2, 3, 3)}, "one is needed: give --data-path"),
        ({"edge_index": torch.zeros((2, 0), dtype=torch.int64)}, "3 atoms and 0 edges; at least 2"),
        ({"pos": torch.zeros((1, 3))}, "1 atoms and 4 edges; at least 2.*--data-path"),
    ],
)
def test_frames_that_cannot_be_traced_say_why(changes, message):
    with pytest.raises(ValueError, match=message):
        example_structure(MOLECULE | changes)
