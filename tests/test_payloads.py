"""Code that a file brings along runs when its user wants it to, and never otherwise: each road with a payload."""

import json
import os
import pickle
import shutil
import zipfile

import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from toy import make_topology, write_toy

import openmm_nequip
from openmm_nequip import ModelFileError, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.models import locate, open_model, read_info
from openmm_nequip.models.compiling import aot
from openmm_nequip.models.execution import Execution

EAGER = Execution("cpu", compile=False)


class Payload:
    """A pickle that writes a file where it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "executed"


def with_entries(source, target, changes):
    """A copy of an archive with other or further entries; names below its own folder."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        folder = old.namelist()[0].split("/")[0]
        changes = {f"{folder}/{name}": content for name, content in changes.items()}
        for name in old.namelist():
            new.writestr(name, changes.pop(name, None) or old.read(name))
        for name, content in changes.items():
            new.writestr(name, content)
    return target


@pytest.fixture
def checkpoint(tmp_path, mark):
    """A training checkpoint whose pickle runs code, with all the facts that a real one has."""
    facts = {"model": {"type_names": ["H", "C", "N", "O"], "r_max": 4.0, "model_dtype": "float64"}, "info_dict": {}}
    content = {"state_dict": {}, "hyper_parameters": facts, "training_module": "x", "extra": Payload(mark)}
    return with_entries(DATA / "tiny-nequip.ckpt", tmp_path / "evil.ckpt", {"data.pkl": pickle.dumps(content, 2)})


@pytest.fixture
def package(tmp_path, mark):
    """A package whose code writes the file when it is imported."""
    source = DATA / "tiny-nequip.nequip.zip"
    with zipfile.ZipFile(source) as archive:
        name = next(n for n in archive.namelist() if n.endswith("nequip/nn/graph_model.py"))
        code = archive.read(name).decode()
    code = code.replace("import torch\n", f"import torch\nopen({str(mark)!r}, 'w').close()\n", 1)
    return with_entries(source, tmp_path / "evil.nequip.zip", {name.split("/", 1)[1]: code})


def loaded(path):
    try:
        load_model(path, compile=False)
    except ModelFileError:
        pass


@pytest.mark.parametrize("kind", ["checkpoint", "package"])
def test_the_payloads_work(kind, request, mark):
    """Otherwise what follows would prove nothing."""
    loaded(request.getfixturevalue(kind))
    assert mark.exists()


# ---- trust on every road

ROADS = {
    "load_model": lambda path, trusted: load_model(path, compile=False, trusted=trusted),
    "constructor": lambda path, trusted: MLPotential("nequip", modelPath=path, trusted=trusted),
    "createSystem": lambda path, trusted: MLPotential("nequip", modelPath=path).createSystem(
        make_topology(["H", "C"]), trusted=trusted, compile=False
    ),
    "createMixedSystem": lambda path, trusted: MLPotential("nequip", modelPath=path).createMixedSystem(
        dipeptide()[0], vacuum_system(), list(range(22)), trusted=trusted, compile=False
    ),
    "create_mixed_system": lambda path, trusted: openmm_nequip.create_mixed_system(
        dipeptide()[0], vacuum_system(), list(range(22)), path, trusted=trusted, compile=False
    ),
}


@pytest.mark.parametrize("kind", ["checkpoint", "package"])
@pytest.mark.parametrize("road", ROADS)
def test_what_is_not_trusted_does_not_run(road, kind, request, mark):
    path = request.getfixturevalue(kind)
    with pytest.raises(ModelFileError, match="is not the trusted one.*nothing of it was loaded"):
        ROADS[road](path, "0" * 64)
    assert not mark.exists()


@pytest.mark.parametrize("command", ["info", "energy", "compile", "run"])
def test_commands_run_nothing_that_is_not_trusted(command, checkpoint, mark, tmp_path, capsys):
    (tmp_path / "two.xyz").write_text("2\n\nH 0 0 0\nC 1.1 0 0\n")
    given = {
        "info": [str(checkpoint)],
        "energy": [str(checkpoint), str(tmp_path / "two.xyz")],
        "compile": [str(checkpoint)],
        "run": ["--model", str(checkpoint), "--structure", str(tmp_path / "two.xyz"), "--output", str(tmp_path / "o")],
    }[command]
    assert main([command, *given, "--trusted", "0" * 64]) == 1
    assert "is not the trusted one" in capsys.readouterr().err and not mark.exists()


# ---- read once


def test_a_file_exchanged_after_it_was_hashed_does_not_run(checkpoint, mark, tmp_path):
    """What was identified is opened, or nothing."""
    path = shutil.copy(DATA / "tiny-nequip.ckpt", tmp_path / "model.ckpt")
    source = locate(path, trusted=locate(path).sha256)
    os.replace(checkpoint, path)
    model = open_model(source, EAGER)  # the bytes that were hashed are still at hand
    assert model.info.type_names == ("H", "C", "N", "O")
    del model
    locate(DATA / "tiny-allegro.ckpt")  # now they are not
    with pytest.raises(ModelFileError, match="has changed: its SHA-256 is"):
        open_model(source, EAGER)
    with pytest.raises(ModelFileError, match="has changed: its SHA-256 is"):
        read_info(source)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["tiny-nequip.ckpt", "tiny-nequip.nequip.zip", "tiny-nequip.nequip.pth"])
def test_loaders_never_open_the_users_path(name, tmp_path, monkeypatch):
    """Whatever stands there at that moment: they get the bytes that have the digest."""
    path = shutil.copy(DATA / name, tmp_path / name)
    source = locate(path)
    os.remove(path)
    assert open_model(source, EAGER).info.type_names == ("H", "C", "N", "O")


# ---- packages of AOTInductor


def pt2(path, more):
    facts = {"r_max": "4", "type_names": "H O", "AOTI_DEVICE_KEY": "cpu"}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data/aotinductor/model/model_metadata.json", json.dumps(facts))
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../escaped", "model/../../escaped", "/tmp/escaped", "..\\escaped", "C:\\escaped", "model/a/../b"]
)
def test_entries_do_not_leave_their_folder(name, tmp_path):
    path = pt2(tmp_path / "model.nequip.pt2", {name: b"x"})
    with pytest.raises(ModelFileError, match="would be written outside its own folder"):
        load_model(path)


def test_libraries_that_a_file_names_are_not_imported(tmp_path, mark, monkeypatch):
    (tmp_path / "innocent.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entries = {"model/nequip_custom_ops_libs.txt": "innocent", "model/data/aotinductor/model/a.so": b"x"}
    path = pt2(tmp_path / "model.nequip.pt2", entries)
    with pytest.raises(ModelFileError, match="asks to import 'innocent', which is none of the libraries"):
        load_model(path)
    assert not mark.exists()


def test_commands_that_a_file_holds_are_not_run(tmp_path, mark):
    """torch compiles what comes as source, by the commands in the file."""
    flags = json.dumps({"compiler": f"touch {mark};", "flags": [f"; touch {mark}"]})
    path = pt2(tmp_path / "model.nequip.pt2", {"model/data/aotinductor/model/m_compile_flags.json": flags})
    with pytest.raises(ModelFileError, match="holds no compiled library: torch would run the compiler commands"):
        load_model(path)
    assert not mark.exists()


# ---- the current folder


@pytest.mark.parametrize("before", [None, "", ".", "elsewhere:"])
def test_the_compile_worker_does_not_look_in_the_current_folder(before, tmp_path, mark, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("argparse", "torch", "json", "sitecustomize"):
        (trap / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(aot, "WORKER", "path_worker")
    # A user who puts the current folder on the path himself gets it: from another one here, so that nothing is found.
    named = str(DATA.parent) if before is None else os.pathsep.join([str(DATA.parent), before.replace(".", "nothing")])
    monkeypatch.setenv("PYTHONPATH", named)
    monkeypatch.chdir(trap)
    found = json.loads(aot.cached_package(locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu")).read_text())
    assert not mark.exists() and str(trap) not in found["path"] and "trap" not in found["argparse"]
    assert all(os.path.isabs(each) for each in found["path"])


# ---- looking at a file


@pytest.mark.parametrize("kind", ["checkpoint", "package"])
def test_info_runs_nothing(kind, request, mark, capsys):
    assert main(["info", "--json", str(request.getfixturevalue(kind))]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["type_names"] == ["H", "C", "N", "O"] and facts["loaded"] is False
    assert not mark.exists()


ESCAPES = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\rb", "a\x08b", "\u202egnp.exe", "a\x00b"]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("place", ["version", "types"])
def test_no_command_reaches_the_terminal(place, escape, tmp_path, capsys):
    facts = {"type_names": ["H", "C"], "r_max": 4.0, "model_dtype": "float64"}
    versions = {"nequip": "0.19"}
    if place == "version":
        versions["nequip"] = escape
    else:
        facts["type_names"] = ["H", escape]
    parameters = {"model": facts, "info_dict": {"versions": versions}}
    content = pickle.dumps({"state_dict": {}, "training_module": "x", "hyper_parameters": parameters}, 2)
    path = with_entries(DATA / "tiny-nequip.ckpt", tmp_path / "model.ckpt", {"data.pkl": content})
    main(["info", str(path)])
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not set(text) & set("\x1b\x9b\x07\r\x08\u202e\x00")


def test_paths_are_written_out_as_well(tmp_path, capsys):
    path = write_toy(tmp_path / "toy.nequip.pth").rename(tmp_path / "a\x1b[2Jb.pth")
    assert main(["info", str(path)]) == 0 and main(["info", str(tmp_path / "\x1b[2Jmissing")]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and r"a\x1b[2Jb.pth" in said.out


def test_nested_aliases_do_not_fill_the_memory(tmp_path, capsys):
    """A few lines of YAML that would become gigabytes of text."""
    lines = ["versions:", "  a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  {b}: &{b} [{', '.join([f'*{a}'] * 10)}]" for a, b in zip("abcdefghi", "bcdefghij", strict=True)]
    entries = {"model/package_metadata.txt": "\n".join(lines)}
    path = with_entries(DATA / "tiny-nequip.nequip.zip", tmp_path / "bomb.nequip.zip", entries)
    assert main(["info", "--json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out)["versions_in_file"] == {}
