"""Damaged trajectories that end mdtraj's process are refused before this one reads them."""

import mdtraj
import numpy as np
import openmm.app as app
import pytest
from mdtraj.formats import TRRTrajectoryFile, XTCTrajectoryFile

from openmm_nequip.app.run.trajectory_reading import load_trajectory
from openmm_nequip.trajectory_loading import load_frames

#: Bits whose change ends mdtraj 1.11's readers: of the XTC's smallest number of bits, of the TRR's size of a vector.
CRASHES = {".xtc": (673, 684), ".trr": (88, 3930)}
PRECISION = 1e-3  # nm, of XTC


def write(path):
    """Four frames of thirty atoms, the same on every machine."""
    positions = np.round(np.random.default_rng(3).uniform(0, 1.5, (4, 30, 3)), 3).astype(np.float32)
    box = np.tile(np.eye(3, dtype=np.float32) * 2, (4, 1, 1))
    with {".xtc": XTCTrajectoryFile, ".trr": TRRTrajectoryFile}[path.suffix](str(path), "w") as file:
        file.write(positions, time=np.arange(4, dtype=np.float32), step=np.arange(4), box=box)
    return positions


def topology():
    found = app.Topology()
    residue = found.addResidue("X", found.addChain())
    for _ in range(30):
        found.addAtom("C", app.Element.getBySymbol("C"), residue)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("suffix", CRASHES)
def test_a_trajectory_that_ends_its_reader_is_refused(tmp_path, suffix):
    path = tmp_path / f"frames{suffix}"
    positions = write(path)
    found = load_trajectory(path, topology(), 2, np.array([3, 7]))
    assert np.abs(found.xyz - positions[::2, [3, 7]]).max() < PRECISION
    assert found.time.tolist() == [0, 2] and np.allclose(found.unitcell_vectors, 2 * np.eye(3)), "nm and ps"
    whole = path.read_bytes()
    for bit in CRASHES[suffix]:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{path.name} (is damaged: mdtraj's reader of it was|cannot be read)"):
            load_trajectory(path, topology())


def test_files_that_are_none(tmp_path):
    path = tmp_path / "none.xtc"
    path.write_bytes(b"no trajectory")
    with pytest.raises(ValueError, match="none.xtc cannot be read"):
        load_frames(path, mdtraj.Topology.from_openmm(topology()))
    with pytest.raises(ValueError, match="absent.xtc cannot be read .*doesn't exist"):
        load_frames(tmp_path / "absent.xtc", mdtraj.Topology.from_openmm(topology()))
    write(path)
    with pytest.raises(ValueError, match="has 30 atoms, and 2 were expected"):
        load_frames(path, mdtraj.Topology.from_openmm(topology()).subset([0, 1]))
