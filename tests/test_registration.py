"""`MLPotential("nequip")` is ours in every order of imports, each tried in a process of its own."""

import subprocess
import sys

import pytest
from conftest import BACKENDS, DATA

pytestmark = pytest.mark.slow

ORDERS = [
    "import openmm_nequip; from openmmml import MLPotential",
    "from openmmml import MLPotential",
    "import openmmml; MLPotential = openmmml.MLPotential",
    "import openmmml; import openmm_nequip; from openmmml import MLPotential",
    "import openmm_nequip; import openmmml; MLPotential = openmmml.MLPotential",
    "import openmm_nequip, openmm, torch; from openmmml import MLPotential",
    "import openmm, openmm_nequip; from openmmml import MLPotential",
    "import nequip; from openmmml import MLPotential",
    "import openmmml.models.nequippotential; from openmmml import MLPotential",
    "import openmm_nequip, openmmml.models.nequippotential; from openmmml import MLPotential",
    "from openmm_nequip import potential; from openmmml import MLPotential",
    "from openmm_nequip import registration; from openmmml import MLPotential",
    "from openmm_nequip import register; register(); from openmmml import MLPotential",
    "from openmm_nequip import load_model; from openmmml import MLPotential",
    "import openmm_nequip.potential; import openmmml; MLPotential = openmmml.MLPotential",
    "import torch, openmm, openmm_nequip.models; from openmmml.mlpotential import MLPotential",
]
CHECK = """
print(type(MLPotential._implFactories['nequip']).__module__, 'mechanical' in MLPotential._embeddingFactories)
"""
#: As if the package were not installed, only on the path: its entry points are not there.
NOT_INSTALLED = """
import importlib.metadata as metadata
found = metadata.entry_points
metadata.entry_points = lambda **group: [each for each in found(**group) if not each.value.startswith("openmm_nequip")]
"""


def python(code):
    """What code prints in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.torchforce_stack
@pytest.mark.parametrize("order", ORDERS)
def test_ours_whatever_the_import_order(order):
    assert python(order + CHECK).split() == ["openmm_nequip.registration", "True"]


@pytest.mark.parametrize("order", [order for order in ORDERS if "openmm_nequip" in order])
def test_ours_without_entry_points(order):
    """From a source tree on the path, as soon as the package is imported."""
    assert python(NOT_INSTALLED + order + CHECK).split() == ["openmm_nequip.registration", "True"]


@pytest.mark.parametrize("order", ["from openmmml import MLPotential", "import openmm_nequip, openmmml"])
def test_openmm_ml_finds_us_without_torch(order):
    """Its own imports decide what is loaded: ours add only modules of this package that import nothing."""
    ours = "sorted(name for name in sys.modules if name.startswith('openmm_nequip.'))"
    loaded = python(f"{order}\nimport sys\nprint(*{ours})").split()
    heavy = {f"openmm_nequip.{name}" for name in ("models", "forces", "potential", "options", "app", "crystal")}
    assert "openmm_nequip.registration" in loaded and not heavy & set(loaded)


@pytest.mark.torchforce_stack
def test_the_potential_is_made_by_the_registered_name():
    code = (
        "from openmmml import MLPotential\n"
        f"potential = MLPotential('nequip', modelPath={str(DATA / 'tiny-nequip.nequip.pth')!r})\n"
        "print(type(potential._impl).__module__, type(potential._impl).__name__)"
    )
    assert python(code).split() == ["openmm_nequip.potential", "NequIPPotentialImpl"]


def test_keywords_are_checked_before_the_file():
    from openmmml import MLPotential

    with pytest.raises(TypeError, match="needs modelPath=: a .ckpt"):
        MLPotential("nequip")
    with pytest.raises(TypeError, match="does not know modelpath; its keywords are"):
        MLPotential("nequip", modelPath="x", modelpath="y")


def test_the_registering_embedding_is_no_embedding():
    from openmmml import MLPotential

    with pytest.raises(ValueError, match="only registers openmm-nequip; use embedding='mechanical'"):
        MLPotential._embeddingFactories["openmm-nequip-registration"].createEmbedding("openmm-nequip-registration")


WRITE_TORCH_FORCE = """
import sys, openmm
from openmmml import MLPotential
topology = openmm.app.PDBFile({pdb!r}).topology
system = MLPotential("nequip", modelPath={model!r}).createSystem(topology, backend="TorchForce")
sys.stdout.write(openmm.XmlSerializer.serialize(system))
"""
READ_TORCH_FORCE = """
import sys
system = openmm.XmlSerializer.deserialize(open({path!r}).read())
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(openmm.app.PDBFile({pdb!r}).positions)
print(context.getState(energy=True).getPotentialEnergy()._value)
"""


@pytest.fixture(scope="module")
def torch_force(tmp_path_factory):
    """XML file of a System with a TorchForce, and the PDB file of its atoms."""
    if "TorchForce" not in BACKENDS:
        pytest.skip("no working openmmtorch in this environment; the other stack runs this")
    pdb = str(DATA.parents[1] / "openmm_nequip" / "data" / "alanine-dipeptide.pdb")
    path = tmp_path_factory.mktemp("torch-force") / "system.xml"
    code = WRITE_TORCH_FORCE.format(pdb=pdb, model=str(DATA / "tiny-nequip.nequip.pth"))
    path.write_text(python("import openmm.app\n" + code))
    return str(path), pdb


@pytest.mark.torchforce_stack
@pytest.mark.parametrize(
    "order",
    [
        "import openmm_nequip, openmm, openmm.app",
        "import openmm, openmm.app, openmm_nequip",
        "import openmm_nequip.units, openmm.app, openmm",
        "from openmmml import MLPotential; import openmm_nequip, openmm.app, openmm",
        "from openmmml import MLPotential; import openmm.app, openmm",
    ],
)
def test_a_torch_force_is_read_in_every_order(torch_force, order):
    path, pdb = torch_force
    assert float(python(order + READ_TORCH_FORCE.format(path=path, pdb=pdb))) != 0.0
