"""Trajectories that are not read as they are: HDF5 is made anew where a run goes on, damaged XTC is put aside."""

import shutil
from importlib.util import find_spec

import mdtraj
import numpy as np
import openmm.app as app
import pytest
from conftest import DATA

from openmm_nequip.app.pmf.windows import read_window
from openmm_nequip.app.run.hdf5_trajectory import renew
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.errors import RunFolderError

needs_hdf5 = pytest.mark.skipif(find_spec("tables") is None, reason="NOT TESTED: PyTables is not installed")
SETTINGS = {
    "minimize": False, "equilibrate": 2, "report_interval": 2, "checkpoint_interval": 4, "seed": 7, "threads": 1,
    "backend": "PythonForce", "timestep": 0.1, "temperature": 30.0, "platform": "Reference",
}  # fmt: skip
SHIPPED = DATA.parent.parent / "openmm_nequip" / "data" / "alanine-dipeptide.pdb"


def run(folder, trajectory, steps=8, **more):
    """A run of the dipeptide and the path of its trajectory."""
    settings = {"model": str(DATA / "tiny-nequip.ckpt"), "structure": str(SHIPPED), "trajectory": trajectory}
    start_run(make_config({**SETTINGS, **settings, "output": str(folder / "run"), "steps": steps, **more}))
    return folder / "run" / f"trajectory.{trajectory}"


def flip(path, place):
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def frames(path):
    return mdtraj.load(str(path), **({} if path.suffix == ".h5" else {"top": str(path.with_name("start.pdb"))}))


@needs_hdf5
def test_an_hdf5_trajectory_goes_on_frame_for_frame(tmp_path):
    parts, whole = run(tmp_path, "h5"), tmp_path / "whole"
    first = frames(parts)
    restart_run(str(parts.parent), {"steps": 12})
    whole.mkdir()
    expected, found = frames(run(whole, "h5", steps=12)), frames(parts)
    assert found.n_frames == 6 and np.array_equal(found.xyz[:4], first.xyz)
    assert np.array_equal(found.xyz, expected.xyz) and np.array_equal(found.time, expected.time)
    assert found.topology == expected.topology


@needs_hdf5
@pytest.mark.slow
@pytest.mark.parametrize("place", [8343, 38848, 0.8, 0.97], ids=str)
def test_damaged_hdf5_is_put_aside(tmp_path, caplog, place):
    """Bits of the structure (the first ends the process that opens the file) and of the numbers."""
    path = run(tmp_path, "h5")
    whole = path.read_bytes()
    flip(path, place if isinstance(place, int) else int(place * 8 * len(whole)))
    damaged, before = path.read_bytes(), frames_of_copy(tmp_path, whole)
    assert restart_run(str(path.parent), {"steps": 12}).summary["steps"] == 12
    aside, after = path.with_name("damaged-trajectory.h5"), frames(path)
    assert "is not as the run wrote it" in caplog.text
    if aside.exists():
        assert aside.read_bytes() == damaged and "renamed to damaged-trajectory.h5" in caplog.text
        assert after.n_frames == 2
    else:  # what was hit is nothing that is taken over
        assert np.array_equal(after.xyz[:4], before.xyz) and after.n_frames == 6


def frames_of_copy(folder, content):
    (folder / "copy.h5").write_bytes(content)
    return frames(folder / "copy.h5")


@needs_hdf5
def test_other_numbers_in_sound_hdf5_are_found(tmp_path):
    path = run(tmp_path, "h5")
    content = frames(path)
    noted = [4, "0" * 64]
    with pytest.raises(ValueError, match="its content is not what the run wrote"):
        renew(path, 4, noted, app.PDBFile(str(SHIPPED)).topology)
    assert np.array_equal(frames(path).xyz, content.xyz), "it stays as it was"
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="the HDF5 library cannot read it"):
        renew(path, 4, None, app.PDBFile(str(SHIPPED)).topology)


def test_damaged_xtc_is_put_aside(tmp_path, caplog):
    """mdtraj's reader ends the process for some damaged files: none is read."""
    path = run(tmp_path, "xtc")
    flip(path, 3494)
    damaged = path.read_bytes()
    assert restart_run(str(path.parent), {"steps": 12}).summary["steps"] == 12
    assert "it was renamed to damaged-trajectory.xtc" in caplog.text
    assert path.with_name("damaged-trajectory.xtc").read_bytes() == damaged
    assert frames(path).n_frames == 2


def test_damaged_trajectories_make_no_pmf(tmp_path):
    path = run(tmp_path, "dcd", bias=["torsion 4 6 8 14 -60 40"])
    assert read_window(path.parent).frames == 4
    shutil.copy(path, tmp_path / "kept.dcd")
    flip(path, 8 * (path.stat().st_size - 20))
    with pytest.raises(RunFolderError, match="trajectory.dcd is not as the run wrote it"):
        read_window(path.parent)
    shutil.copy(tmp_path / "kept.dcd", path)
    assert read_window(path.parent).frames == 4
