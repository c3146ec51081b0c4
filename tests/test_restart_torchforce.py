"""A TorchForce keeps its neighbour list in the plugin; restarts repeat a run bit for bit all the same."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from test_run_folders import frames, state_of
from toy import lattice, write_toy

from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.run_config import make_config

pytestmark = [pytest.mark.slow, pytest.mark.torchforce_stack]


@pytest.mark.parametrize(("ensemble", "platform"), [("nve", "CPU"), ("nvt", "Reference")])
def test_restarts_repeat_a_run_bit_for_bit(tmp_path, caplog, ensemble, platform):
    """Hot enough that the list is made anew several times between the checkpoints."""
    pytest.importorskip("openmmtorch")
    positions, box = lattice(4)
    ase.io.write(tmp_path / "argon.extxyz", ase.Atoms("Ar64", positions * 10, cell=box * 10, pbc=True))
    settings = {"model": str(write_toy(tmp_path / "toy.nequip.pth")), "structure": str(tmp_path / "argon.extxyz"),
                "backend": "TorchForce", "ensemble": ensemble, "platform": platform, "threads": 1, "seed": 7,
                "minimize": False, "equilibrate": 0, "timestep": 4.0, "temperature": 1500.0, "report_interval": 10,
                "checkpoint_interval": 30}  # fmt: skip
    whole, parts = (str(tmp_path / name) for name in ("whole", "parts"))
    start_run(make_config({**settings, "output": whole, "steps": 180}))
    start_run(make_config({**settings, "output": parts, "steps": 60}))
    with caplog.at_level("INFO", logger="openmm_nequip"):
        restart_run(parts, {"steps": 180})
    assert all(np.array_equal(a, b) for a, b in zip(state_of(Path(whole)), state_of(Path(parts)), strict=True))
    assert np.array_equal(frames(Path(whole)), frames(Path(parts)))
    assert "bit for bit as if it had not stopped" in caplog.text
