"""The example of TorchMD-Net: labels, its own training loop, and dynamics here, at a scale that teaches nothing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from openmm_nequip.upstream.torchmdnet_models import installed

EXAMPLE = Path(__file__).parents[1] / "examples" / "torchmdnet"


@pytest.mark.slow
def test_a_model_is_trained_and_run(tmp_path):
    if installed() is None and os.environ.get("OPENMM_NEQUIP_REQUIRE_TORCHMDNET") != "1":
        pytest.skip("needs torchmd-net, which is not installed here")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = dict(os.environ, WORK=str(tmp_path), PATH=path)
    command = ["bash", str(EXAMPLE / "run_all.sh"), "20", "1", "10"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"^kind +torchmdnet$", done.stdout, re.MULTILINE)
    assert re.search(r"^units +to be stated with --units", done.stdout, re.MULTILINE)
    assert re.search(r"^forces: mean absolute error \d+ meV", done.stdout, re.MULTILINE)
    assert len(re.findall(r"^\d+,-?[\d.]+,[\d.]+$", done.stdout, re.MULTILINE)) == 10
