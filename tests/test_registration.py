"""`MLPotential("nequip")` is ours in every order of imports, each tried in a process of its own."""

import subprocess
import sys

import pytest

ORDERS = [
    "import openmm_nequip; from openmmml import MLPotential",
    "from openmmml import MLPotential",
    "import openmmml.models.nequippotential; from openmmml import MLPotential",
    "from openmm_nequip import potential; from openmmml import MLPotential",
    "import openmm_nequip.potential; import openmmml; MLPotential = openmmml.MLPotential",
    "import torch, openmm, openmm_nequip.models; from openmmml.mlpotential import MLPotential",
]
CHECK = """
print(type(MLPotential._implFactories['nequip']).__module__, 'mechanical' in MLPotential._embeddingFactories)
"""


@pytest.mark.parametrize("order", ORDERS)
def test_ours_whatever_the_import_order(order):
    done = subprocess.run([sys.executable, "-c", order + CHECK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["openmm_nequip.registration", "True"]


def test_the_registering_embedding_is_no_embedding():
    from openmmml import MLPotential

    with pytest.raises(ValueError, match="only registers openmm-nequip; use embedding='mechanical'"):
        MLPotential._embeddingFactories["openmm-nequip-registration"].createEmbedding("openmm-nequip-registration")
