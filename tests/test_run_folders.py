"""Run folders: they can be moved, damage in them is seen, one process has them, and restarts repeat a run exactly."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import openmm
import openmm.app as app
import pytest
from conftest import DATA
from toy import lattice, write_toy

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.md_run import restart_run, start_run
from openmm_nequip.app.run.run_analysis import read_log
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.run.run_folder import RunFolder
from openmm_nequip.app.run.run_lock import locked
from openmm_nequip.app.run.trajectory_files import count_frames
from openmm_nequip.errors import RunFolderError
from openmm_nequip.sealed import seal, unseal

PEPTIDE = Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb"
SAVED = DATA / "saved" / "run"
FAST = {"minimize": False, "equilibrate": 0, "report_interval": 5, "checkpoint_interval": 10, "seed": 7, "threads": 1,
        "backend": "PythonForce", "timestep": 0.1}  # fmt: skip
FILES = {"model": DATA / "tiny-nequip.nequip.pth", "structure": PEPTIDE}


def begin(home: Path, steps: int = 10, **changes) -> Path:
    """A run in ``home/runs/one`` of files in ``home/files``."""
    (home / "files").mkdir(parents=True, exist_ok=True)
    places = {name: shutil.copy(path, home / "files") for name, path in FILES.items()}
    start_run(make_config({**FAST, **places, "output": str(home / "runs" / "one"), "steps": steps, **changes}))
    return home / "runs" / "one"


def state_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at the end."""
    state = openmm.XmlSerializer.deserialize((folder / "final-state.xml").read_text())
    return state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value


def is_whole(folder: Path, steps: int, interval: int = 5) -> bool:
    """Whether frames and rows are those of so many steps."""
    rows = read_log(folder / "log.csv")["step"].tolist()
    return rows == list(range(interval, steps + 1, interval)) and count_frames(folder / "trajectory.dcd") == len(rows)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Where a run of ten steps was made: it has moved before any test begins."""
    home = tmp_path_factory.mktemp("template") / "home"
    begin(home)
    return home.rename(home.with_name("moved"))


@pytest.fixture
def run(tmp_path, template):
    """A run of ten steps, with its files in reach."""
    return Path(shutil.copytree(template, tmp_path / "first")) / "runs" / "one"


def test_a_folder_moves_with_its_files(tmp_path, run):
    assert 'model = "../../files/tiny-nequip.nequip.pth"' in (run / "config.toml").read_text()
    os.rename(tmp_path / "first", tmp_path / "second")
    folder = tmp_path / "second" / "runs" / "one"
    shutil.rmtree(folder / "inputs")
    assert restart_run(str(folder), {"steps": 20}).summary["steps"] == 20
    assert is_whole(folder, 20)


@pytest.mark.slow
def test_a_folder_moves_alone(tmp_path, run, monkeypatch):
    folder = Path(shutil.copytree(run, tmp_path / "elsewhere" / "deep" / "er" / "still" / "one"))
    shutil.rmtree(tmp_path / "first")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["run", "--restart", "--output", "deep/er/still/one", "--steps", "20"]) == 0
    assert is_whole(folder, 20)
    # The System does not name a path that is missing either.
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    positions = app.PDBFile(str(PEPTIDE)).positions
    for read in (openmm_nequip.read_system, lambda path: openmm.XmlSerializer.deserialize(Path(path).read_text())):
        system = read(folder / "system.xml")
        context = openmm.Context(
            system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
        )
        context.setPositions(positions)
        assert np.isfinite(context.getState(energy=True).getPotentialEnergy()._value)


def test_files_elsewhere_are_known_by_their_content(tmp_path, run, capsys):
    shutil.rmtree(run / "inputs")
    other = tmp_path / "other"
    shutil.move(tmp_path / "first" / "files", other)
    words = ["run", "--restart", "--output", str(run), "--steps", "20"]
    assert main(words) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "tiny-nequip.nequip.pth is gone; put it back, or give --model FILE with a file of the SHA-256" in error
    renamed = shutil.move(other / "tiny-nequip.nequip.pth", other / "renamed.pth")
    moved = ["--model", str(renamed), "--structure", str(other / PEPTIDE.name)]
    assert main([*words, "--model", str(DATA / "tiny-allegro.nequip.pth"), *moved[2:]]) == 1
    assert "is not the one the run was started from" in capsys.readouterr().err.splitlines()[-1]
    assert main([*words, *moved]) == 0 and is_whole(run, 20)
    # Where they are now is remembered.
    assert main([*words[:-1], "30"]) == 0 and is_whole(run, 30)


def test_a_file_beside_the_folder_is_found(tmp_path, run):
    shutil.rmtree(run / "inputs")
    for path in (tmp_path / "first" / "files").iterdir():
        shutil.move(path, run.parent)
    assert restart_run(str(run), {"steps": 20}).summary["steps"] == 20


def test_a_changed_file_is_refused_and_its_copy_named(tmp_path, run):
    structure = tmp_path / "first" / "files" / PEPTIDE.name
    structure.write_text(structure.read_text().replace("REMARK", "REMARKS", 1))
    with pytest.raises(RunFolderError, match="not the one the run was started from.*give --structure .*inputs"):
        restart_run(str(run), {"steps": 20})
    copy = str(run / "inputs" / PEPTIDE.name)
    assert restart_run(str(run), {"steps": 20, "structure": copy}).summary["steps"] == 20


def test_types_and_force_fields_given_by_path(tmp_path, monkeypatch):
    positions, box = lattice(3)
    atoms = ase.Atoms("Ar27", positions * 10, cell=box * 10, pbc=True)
    home = tmp_path / "home"
    home.mkdir()
    ase.io.write(home / "argon.extxyz", atoms)
    write_toy(home / "toy.pth")
    (home / "types.txt").write_text("Ar " * 27)
    monkeypatch.chdir(home)
    start_run(make_config({**FAST, "model": "toy.pth", "structure": "argon.extxyz", "types": ["types.txt"],
                           "output": "run", "steps": 10, "timestep": 1.0}))  # fmt: skip
    assert 'types = ["../types.txt"]' in (home / "run" / "config.toml").read_text()
    folder = shutil.move(home / "run", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(home)
    assert restart_run(str(folder), {"steps": 20}).summary["steps"] == 20


def hybrid(home: Path) -> Path:
    home.mkdir(parents=True)
    names = {"model": "tiny-nequip.nequip.pth", "structure": "peptide-water.inpcrd", "topology": "peptide-water.prmtop"}
    places = {key: shutil.copy(DATA / name, home) for key, name in names.items()}
    start_run(make_config({**FAST, **places, "ml_atoms": "resname ALA", "output": str(home / "run"), "steps": 5,
                           "platform": "CPU", "timestep": 0.01}))  # fmt: skip
    return home / "run"


@pytest.mark.slow
def test_a_hybrid_folder_moves_alone(tmp_path):
    folder = Path(shutil.move(hybrid(tmp_path / "home"), tmp_path / "moved"))
    shutil.rmtree(tmp_path / "home")
    assert restart_run(str(folder), {"steps": 10}).summary["steps"] == 10
    # What it does not read again may be gone altogether; System and start may not.
    shutil.rmtree(folder / "inputs")
    shutil.copy(DATA / "tiny-nequip.nequip.pth", folder)
    assert restart_run(str(folder), {"steps": 15}).summary["steps"] == 15
    text = (folder / "system.xml").read_text()
    (folder / "system.xml").write_text(text.replace('mass="15.99943"', 'mass="15.99944"', 1))
    with pytest.raises(RunFolderError, match="system.xml is not as the run wrote it"):
        restart_run(str(folder), {"steps": 20})
    (folder / "system.xml").unlink()
    with pytest.raises(RunFolderError, match="system.xml is gone"):
        restart_run(str(folder), {"steps": 20})


@pytest.mark.skipif(openmm.version.short_version < "8.6", reason="its checkpoint is of OpenMM 8.6")
def test_a_folder_of_release_0_1_moves(tmp_path):
    folder = Path(shutil.copytree(SAVED, tmp_path / "run"))
    text = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(text.replace("/tmp/openmm-nequip-saved-systems", "/nowhere-at-all"))
    with pytest.raises(RunFolderError, match="the model file /nowhere-at-all/tiny-nequip.nequip.zip is gone"):
        restart_run(str(folder), {"steps": 15, "kernels": "none", "compile": False})
    shutil.copy(DATA / "tiny-nequip.nequip.zip", tmp_path)
    assert restart_run(str(folder), {"steps": 15, "kernels": "none", "compile": False}).summary["steps"] == 15
    assert is_whole(folder, 15)


def test_provenance_has_the_digests(run):
    known = json.loads((run / "provenance.json").read_text())
    results = {"log.csv", "trajectory.dcd", "final.pdb", "final.cif", "final-state.xml"}
    assert set(known["files"]) == {"config.toml", "system.xml", "start.pdb", *results}
    for name, digests in known["files"].items():
        assert digests == [hashlib.sha256((run / name).read_bytes()).hexdigest()]
    assert {item["setting"]: item["sha256"] for item in known["inputs"]} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in FILES.items()
    }


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8 % len(content)] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["config.toml", "provenance.json"])
def test_settings_that_changed_are_refused(run, name):
    path = run / name
    path.write_text(path.read_text().replace("300.0", "310.0").replace('"form"', '"farm"'))
    with pytest.raises(RunFolderError, match="is not as the run wrote it|is damaged or gone"):
        restart_run(str(run), {"steps": 20})
    path.unlink()
    with pytest.raises(ValueError, match="is damaged or gone|holds no run to continue"):
        restart_run(str(run), {"steps": 20})


def test_a_damaged_checkpoint_falls_back_to_the_state(tmp_path, run, caplog):
    twin = shutil.copytree(run, tmp_path / "twin")
    flip(run / "checkpoint.chk", 8 * 1000)
    assert restart_run(str(run), {"steps": 20}).summary["steps"] == 20
    assert "cannot be used here (damaged: " in caplog.text and "new random numbers" in caplog.text
    for bit in (8 * 1000, 8 * 700):
        flip(twin / "checkpoint.chk", bit)
        flip(twin / "checkpoint.xml", bit)
    before = (twin / "log.csv").read_bytes(), (twin / "trajectory.dcd").read_bytes()
    with pytest.raises(RunFolderError, match="neither .*damaged.* nor .*damaged.* can be read; put a copy"):
        restart_run(str(twin), {"steps": 20})
    assert before == ((twin / "log.csv").read_bytes(), (twin / "trajectory.dcd").read_bytes())


@pytest.mark.parametrize("leave_equilibration", [False, True])
def test_lost_checkpoints_do_not_start_a_run_over(run, leave_equilibration):
    for suffix in ("chk", "xml"):
        path = run / f"checkpoint.{suffix}"
        if leave_equilibration:
            shutil.copy(path, run / f"equilibration.{suffix}")
        path.unlink()
    before = (run / "log.csv").read_bytes(), (run / "trajectory.dcd").read_bytes()
    with pytest.raises(RunFolderError, match="has log.csv, trajectory.dcd, .* but neither checkpoint.chk and"):
        restart_run(str(run), {"steps": 20})
    assert before == ((run / "log.csv").read_bytes(), (run / "trajectory.dcd").read_bytes())


@pytest.mark.parametrize("name", ["log.csv", "trajectory.dcd"])
def test_what_was_written_before_is_compared(run, name, caplog):
    flip(run / name, 8 * ((run / name).stat().st_size - 20))
    assert restart_run(str(run), {"steps": 20}).summary["steps"] == 20
    assert f"{name} is not as the run wrote it" in caplog.text
    caplog.clear()
    restart_run(str(run), {"steps": 25})
    assert "is not as the run wrote it" not in caplog.text  # it is said once


@pytest.mark.slow
def test_no_bit_flip_gives_another_number(tmp_path, run, caplog):
    """Noticed, or harmless: the same steps."""
    right = shutil.copytree(run, tmp_path / "right")
    restart_run(str(right), {"steps": 15})
    expected = state_of(right)
    generator = np.random.default_rng(5)
    noticed = 0
    names = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.suffix != ".png")
    for i in range(14):
        folder = Path(shutil.copytree(run, tmp_path / str(i)))
        name = names[i % len(names)]
        if (folder / name).stat().st_size:
            flip(folder / name, int(generator.integers(8 * (folder / name).stat().st_size)))
        caplog.clear()
        try:
            restart_run(str(folder), {"steps": 15})
        except ValueError:
            noticed += 1
            continue
        same = all(np.array_equal(a, b) for a, b in zip(state_of(folder), expected, strict=True))
        warned = any(record.levelname == "WARNING" for record in caplog.records)
        noticed += warned
        assert same or warned, name
        if not warned:
            assert (folder / "log.csv").read_bytes() == (right / "log.csv").read_bytes(), name
    assert noticed >= 5


@pytest.mark.parametrize("xml", [False, True])
def test_seals(xml):
    sealed = seal(b"<a/>\n" if xml else b"\x00\x01", {"step": 3}, xml)
    assert unseal(sealed, xml) == (b"<a/>\n" if xml else b"\x00\x01", {"step": 3})
    assert unseal(b"anything", xml).facts is None
    for bit in range(8 * len(sealed)):
        content = bytearray(sealed)
        content[bit // 8] ^= 1 << bit % 8
        try:
            found = unseal(bytes(content), xml)
            # Either it counts as a file without a seal, or a zero of the length became a blank.
            assert found.facts is None or found == unseal(sealed, xml)
        except ValueError as error:
            assert str(error).startswith("damaged: ")


def test_openmm_reads_checkpoints_as_they_are(run):
    system = openmm_nequip.read_system(run / "system.xml")
    platform = openmm.Platform.getPlatformByName("CPU")
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.0001)
    context = openmm.Context(system, integrator, platform)
    context.setState(openmm.XmlSerializer.deserialize((run / "checkpoint.xml").read_text()))
    assert context.getStepCount() == 10
    context.loadCheckpoint((run / "checkpoint.chk").read_bytes())
    assert context.getStepCount() == 10


def test_one_folder_one_process(tmp_path, run):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom openmm_nequip.app.run.run_lock import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('locked', flush=True)\n    time.sleep(600)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(RunFolderError, match=rf"in use by another run \(process {other.pid} on .*wait until"):
            restart_run(str(run), {"steps": 20})
    finally:
        other.kill()
        other.communicate()
    assert restart_run(str(run), {"steps": 20}).summary["steps"] == 20  # a process that was killed holds nothing
    (tmp_path / "new").mkdir()
    with locked(tmp_path / "new"), pytest.raises(RunFolderError, match="in use by another run"):
        start_run(make_config({**FAST, **{k: str(v) for k, v in FILES.items()}, "output": str(tmp_path / "new")}))


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_path_is_no_folder(tmp_path, monkeypatch, capsys, value):
    monkeypatch.chdir(tmp_path)
    words = ["--model", str(FILES["model"]), "--structure", str(PEPTIDE)]
    for command in (
        ["run", *words, "--output", value],
        ["run", "--restart", "--output", value],
        ["run", "--model", value, "--structure", str(PEPTIDE), "--output", "out"],
        ["demo", "--output", value],
        ["bench", "--output", value],
    ):
        with contextlib.suppress(SystemExit):  # wrong usage ends so
            assert main(command) == 1
        assert "give a path" in capsys.readouterr().err.splitlines()[-1], command
    (tmp_path / "run.toml").write_text(f'model = "{FILES["model"]}"\nstructure = "{PEPTIDE}"\noutput = "{value}"\n')
    assert main(["run", "--config", "run.toml"]) == 1
    assert "give a path" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]
    (tmp_path / "run.toml").unlink()


def frames(folder: Path) -> np.ndarray:
    import mdtraj

    return mdtraj.load(str(folder / "trajectory.dcd"), top=str(folder / "start.pdb")).xyz


def waters(path: Path) -> str:
    """Twenty-seven water molecules in a box: more than a small molecule, so lists are kept with a skin."""
    import ase.build

    generator = np.random.default_rng(0)
    atoms = ase.Atoms()
    for place in np.ndindex(3, 3, 3):
        molecule = ase.build.molecule("H2O")
        molecule.rotate(generator.uniform(0, 360), generator.normal(size=3))
        molecule.positions += np.array(place) * 3.1
        atoms += molecule
    atoms.set_cell([9.3] * 3)
    atoms.pbc = True
    ase.io.write(path, atoms)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "ensemble"), [("torchscript", "nve"), ("eager", "nvt"), ("hybrid", "nvt")])
def test_restarts_repeat_a_run_bit_for_bit(tmp_path, kind, ensemble):
    settings = {**FAST, "model": str(FILES["model"]), "structure": str(tmp_path / "w.extxyz"), "ensemble": ensemble}
    settings |= {"platform": "CPU", "timestep": 0.5}
    if kind == "hybrid":
        names = {"structure": "peptide-water.inpcrd", "topology": "peptide-water.prmtop"}
        settings |= {key: str(DATA / name) for key, name in names.items()}
        settings |= {"ml_atoms": "resname ALA", "timestep": 0.05}
    else:
        waters(tmp_path / "w.extxyz")
    if kind == "eager":
        settings |= {"model": str(DATA / "tiny-nequip.ckpt"), "kernels": "none", "compile": False}
    whole, parts = (str(tmp_path / name) for name in ("whole", "parts"))
    start_run(make_config({**settings, "output": whole, "steps": 40}))
    start_run(make_config({**settings, "output": parts, "steps": 20}))
    restart_run(parts, {"steps": 40})
    assert all(np.array_equal(a, b) for a, b in zip(state_of(Path(whole)), state_of(Path(parts)), strict=True))
    assert np.array_equal(frames(Path(whole)), frames(Path(parts)))
    assert (Path(whole) / "log.csv").read_text() == (Path(parts) / "log.csv").read_text()


def test_npt_goes_on_with_other_volume_moves(tmp_path):
    """No checkpoint holds a barostat's random numbers: its Context is not made anew, which would repeat them."""
    settings = {**FAST, "model": str(FILES["model"]), "structure": waters(tmp_path / "w.extxyz"), "ensemble": "npt",
                "checkpoint_interval": 25, "report_interval": 25, "output": str(tmp_path / "run")}  # fmt: skip
    start_run(make_config({**settings, "steps": 100}))
    volumes = read_log(tmp_path / "run" / "log.csv")["volume_nm3"]
    assert len(volumes) == 4 and len(set(np.diff(volumes).tolist())) > 1


@pytest.mark.parametrize("kind", ["pure", "hybrid"])
def test_a_run_killed_before_its_first_step_begins_anew(tmp_path, monkeypatch, kind):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    settings = {**FAST, "model": str(FILES["model"]), "structure": str(PEPTIDE), "steps": 5, "timestep": 0.01,
                "output": str(tmp_path / "run"), "platform": "CPU"}  # fmt: skip
    if kind == "hybrid":
        names = {"structure": "peptide-water.inpcrd", "topology": "peptide-water.prmtop"}
        settings |= {key: str(DATA / name) for key, name in names.items()} | {"ml_atoms": "resname ALA"}
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "write_structure", kill)
        start_run(make_config(settings))
    (tmp_path / "run" / ".start.pdb.12345.tmp").write_text("half")
    assert not (tmp_path / "run" / "system.xml").exists()
    assert restart_run(str(tmp_path / "run"), {}).summary["steps"] == 5
    assert is_whole(tmp_path / "run", 5) and not list((tmp_path / "run").glob(".*"))


def test_folders_have_nothing_left_over(run):
    assert not list(run.glob(".*")) and (run / "run.lock").read_text() == ""
    assert RunFolder(run).latest_stage() == "production"
