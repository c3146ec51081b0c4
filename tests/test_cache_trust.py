"""The cache folder: nothing planted, damaged or written by others is used, and nothing half done stays behind."""

import ctypes
import dataclasses
import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from conftest import DATA
from nequip_models import CUTOFF, make_model
from openmmml import MLPotential
from toy import evaluate, make_topology, write_toy

from openmm_nequip import KernelsError, load_model
from openmm_nequip.cache import cache_dir, find, keep, scratch, shelf, sweep
from openmm_nequip.errors import CompileError, NotFusableError
from openmm_nequip.forces import saved
from openmm_nequip.kernels.cpu import CPU
from openmm_nequip.kernels.cpu.build import build, library_name, refusal
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.models import locate
from openmm_nequip.models.compiling import aot
from openmm_nequip.models.fused import open_kernels
from openmm_nequip.models.own_answers import References, check_library, make_references
from openmm_nequip.upstream.nequip_state import default_dtype

SOURCE = 'extern "C" int answer() { return 42; }\n'
#: Bits flipped in each kind of artefact.
FLIPS = 200


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


# ---- who may write


def test_the_folder_is_the_users_alone(cache):
    assert cache_dir().stat().st_mode & 0o077 == 0 and shelf("kernels").stat().st_mode & 0o077 == 0


def test_a_folder_that_others_could_write_to_is_closed(cache, caplog):
    cache.mkdir()
    cache.chmod(0o777)
    assert cache_dir().stat().st_mode & 0o022 == 0
    assert "others could write to the cache folder" in caplog.text


def give_away(path, monkeypatch):
    """Let a file or folder belong to somebody else: to another user, or this user to be another."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 54321)


def test_the_folder_of_somebody_else_is_not_used(cache, monkeypatch):
    """Models run all the same, without what would have to be kept there."""
    give_away(cache_dir(), monkeypatch)
    with pytest.raises(PermissionError, match=r"belongs to the user \d+, who could have put code into it"):
        cache_dir()
    with pytest.raises(KernelsError, match="the cache folder cannot be used: .* OPENMM_NEQUIP_CACHE"):
        load_model(DATA / "tiny-nequip.ckpt", kernels="fused", tables=False)


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o666])
def test_a_file_that_others_could_write_to_is_made_anew(cache, mode):
    path = keep(shelf("x"), "key", ".so", b"content")
    assert find(shelf("x"), "key", ".so") == (path, b"content")
    path.chmod(mode)
    assert find(shelf("x"), "key", ".so") is None and not path.exists()


def test_a_file_of_somebody_else_is_taken_away(cache, monkeypatch):
    folder = shelf("x")
    path = keep(folder, "key", ".so", b"content")
    give_away(path, monkeypatch)
    assert find(folder, "key", ".so") is None and not path.exists()


# ---- damage


@pytest.mark.parametrize("spoil", [lambda c: c[:-1], lambda c: b"", lambda c: c + b"\0", lambda c: bytes(len(c))])
def test_another_length_is_seen(cache, spoil):
    path = keep(shelf("x"), "key", ".npz", b"content" * 50)
    path.write_bytes(spoil(path.read_bytes()))
    assert find(shelf("x"), "key", ".npz") is None and not path.exists()


@pytest.mark.parametrize("suffix", [".so", ".npz", ".nequip.pt2", ".json"])
def test_every_flipped_bit_is_seen(cache, suffix):
    draw = random.Random(5)
    content = draw.randbytes(3000)
    for _ in range(FLIPS):
        path = keep(shelf("x"), "key", suffix, content)
        place = draw.randrange(8 * len(content))
        spoiled = bytearray(content)
        spoiled[place // 8] ^= 1 << place % 8
        path.write_bytes(spoiled)
        assert find(shelf("x"), "key", suffix) is None
    assert not list(shelf("x").iterdir())


def test_a_truncated_library_is_compiled_again(cache):
    """Loaded as it is it would end the process with SIGBUS, at every start."""
    folder = shelf("kernels")
    path = build(SOURCE, folder, library_name(SOURCE))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    again = build(SOURCE, folder, library_name(SOURCE))
    assert ctypes.CDLL(str(again)).answer() == 42


def test_a_planted_library_is_not_loaded(cache, tmp_path):
    """Its constructor would run as soon as it is opened; its name is right, its digest is not."""
    mark = tmp_path / "executed"
    payload = tmp_path / "payload.cpp"
    payload.write_text(
        f'#include <fstream>\n__attribute__((constructor)) static void run() {{ std::ofstream("{mark}") << 1; }}\n'
        'extern "C" int answer() { return 666; }\n'
    )
    subprocess.run(["g++", "-shared", "-fPIC", "-o", str(tmp_path / "payload.so"), str(payload)], check=True)
    folder, name = shelf("kernels"), library_name(SOURCE)
    for planted in (f"{name}.so", f"unchecked-{name}.so", f"unchecked-{name}-{'0' * 64}.so"):
        shutil.copy(tmp_path / "payload.so", folder / planted)
    path = build(SOURCE, folder, name)
    assert ctypes.CDLL(str(path)).answer() == 42 and not mark.exists()
    ctypes.CDLL(str(tmp_path / "payload.so"))
    assert mark.exists(), "the payload works, so the test means something"


def test_a_planted_package_is_not_loaded(cache, monkeypatch):
    """In place of the compiled form of a model: compiled anew."""
    source, device = locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu")
    monkeypatch.setattr(aot, "compile_in_worker", lambda source, device, target, *_: target.write_bytes(b"genuine"))
    first = aot.cached_package(source, device)
    first.write_bytes(b"planted")
    assert aot.cached_package(source, device).read_bytes() == b"genuine"


@pytest.mark.parametrize("spoil", [b"", b"PK\x03\x04 no model"])
def test_an_embedded_model_is_unpacked_again(cache, tmp_path, monkeypatch, spoil):
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = MLPotential("nequip", modelPath=path, embedModel=True).createSystem(make_topology(["H", "C"]))
    text = openmm.XmlSerializer.serialize(system)
    positions = np.array([[0, 0, 0], [0.38, 0, 0]])
    expected = evaluate(system, positions)[0]
    path.unlink()
    # Equal content shares its opened model in a process; each read here is to open it anew, as another process does.
    monkeypatch.setattr(saved, "RESTORED", saved.RestoredPotentials())
    assert evaluate(openmm.XmlSerializer.deserialize(text), positions)[0] == expected
    (unpacked,) = (cache / "embedded").iterdir()
    unpacked.write_bytes(spoil)
    monkeypatch.setattr(saved, "RESTORED", saved.RestoredPotentials())
    assert evaluate(openmm.XmlSerializer.deserialize(text), positions)[0] == expected
    (unpacked,) = (cache / "embedded").iterdir()
    assert locate(unpacked).sha256 in unpacked.name


# ---- what killed processes leave


def test_what_is_half_done_and_abandoned_is_swept_away(cache):
    folder = shelf("kernels")
    old = time.time() - 7200
    dead, alive = folder / "openmm-nequip-kernels-dead", folder / "openmm-nequip-kernels-live"
    part = folder / "k.part-1"
    for each in (dead, alive):
        each.mkdir()
        (each / "model.so").write_bytes(b"x")
    part.write_bytes(b"x")
    kept = keep(folder, "key", ".so", b"content")
    with scratch(folder, "kernels") as work:
        handle = os.open(alive, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        for each in (dead, alive, part, kept, work):
            os.utime(each, (old, old))
        sweep(folder)
        assert {path.name for path in folder.iterdir()} == {alive.name, kept.name, work.name}
    os.close(handle)
    sweep(folder)
    assert [path.name for path in folder.iterdir()] == [kept.name]


@pytest.mark.slow
def test_a_killed_compilation_leaves_nothing(cache, tmp_path):
    """No compiler goes on, no folder stays; for every moment at which the process may be killed."""
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\necho $$ > {tmp_path}/pid\nsleep 60\n')
    script.chmod(0o755)
    program = (
        "from openmm_nequip.cache import shelf\nfrom openmm_nequip.kernels.cpu.build import build\n"
        "build('int x;', shelf('kernels'), 'name')\n"
    )
    environment = dict(os.environ, CXX=str(script))
    for _ in range(3):
        (tmp_path / "pid").unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL)
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
            assert process.poll() is None
            time.sleep(0.05)
        compiler = int((tmp_path / "pid").read_text())
        process.send_signal(signal.SIGKILL)
        process.wait()
        for _ in range(100):
            if not Path(f"/proc/{compiler}").exists() and not list((cache / "kernels").iterdir()):
                break
            time.sleep(0.05)
        assert not Path(f"/proc/{compiler}").exists() and not list((cache / "kernels").iterdir())


# ---- keys


def test_everything_that_changes_a_library_is_in_its_name(monkeypatch, tmp_path):
    wrapper = tmp_path / "g++"
    wrapper.write_text('#!/bin/sh\nexec /usr/bin/env g++ "$@"\n')
    wrapper.chmod(0o755)
    names = [library_name(SOURCE)]
    for variable in ("CPATH", "LIBRARY_PATH", "CPLUS_INCLUDE_PATH", "COMPILER_PATH"):
        monkeypatch.setenv(variable, str(tmp_path))
        names.append(library_name(SOURCE))
    for command in (str(wrapper), "g++ -O1", "g++ -O1 -DX"):
        monkeypatch.setenv("CXX", command)
        names.append(library_name(SOURCE))
    assert len(set(names)) == len(names)


def test_compiled_models_belong_to_their_cpu(cache, monkeypatch):
    monkeypatch.setattr(aot, "compile_in_worker", lambda source, device, target, *_: target.write_bytes(b"x"))
    source, device = locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu")
    first = aot.cached_package(source, device)
    monkeypatch.setattr(aot, "machine", lambda: "another CPU")
    assert aot.cached_package(source, device) != first


def test_a_refusal_holds_for_one_compiler(cache, monkeypatch):
    """Another one may make something better of the same code, and is asked."""
    folder, asked = shelf("kernels"), []

    def check(path):
        asked.append(path)
        if os.environ.get("CXX") != "g++ -O0":
            raise NotFusableError("differs by 1")

    for _ in range(2):
        with pytest.raises(NotFusableError, match="differs by 1"):
            build(SOURCE, folder, library_name(SOURCE), check)
    assert len(asked) == 1 and refusal(folder, SOURCE) == "differs by 1"
    monkeypatch.setenv("CXX", "g++ -O0")
    assert refusal(folder, SOURCE) == ""
    assert build(SOURCE, folder, library_name(SOURCE), check).exists() and len(asked) == 2
    build(SOURCE, folder, library_name(SOURCE), check)
    assert len(asked) == 2, "what has passed is not asked again"


def test_a_library_that_nobody_checked_is_none_for_those_who_want_it_checked(cache):
    folder, asked = shelf("kernels"), []
    build(SOURCE, folder, library_name(SOURCE))
    build(SOURCE, folder, library_name(SOURCE), asked.append)
    assert len(asked) == 1


# ---- what a new library is compared with


@pytest.fixture(scope="module")
def made():
    """A model, its code, and its own answers, as they come back from a file."""
    model = make_model()
    with default_dtype(torch.float64):
        code = fuse(model, True)
    references = make_references(model, {"r_max": str(CUTOFF), "type_names": "H C O"})
    return code, References.unpack(references.pack())


def altered(step=None, stepper=None):
    """The CPU's kernels with a fault: ``step`` and ``stepper`` change energies and forces in their places."""

    def make_step(library):
        plain = CPU.step(library)

        def call(positions, types, edges, shifts, cell, threads, keep=False):
            energies, forces, virial = plain(positions, types, edges, shifts, cell, threads, keep)
            if step is not None:
                step(energies, forces, positions, types, cell, edges, threads)
            return energies, forces, virial

        return call

    def make_stepper(library, types, neighbors, setup, **more):
        plain = CPU.stepper(library, types, neighbors, setup, **more)

        def call(positions, box, threads):
            energy, forces = plain(positions, box, threads)
            if stepper is not None:
                stepper(forces, positions, types, setup, threads)
            return energy, forces

        return call

    return dataclasses.replace(CPU, step=make_step, stepper=make_stepper)


def nearest(positions):
    """For each atom its nearest neighbour and the distance, without images."""
    distances = np.linalg.norm(positions[None] - positions[:, None], axis=-1) + 1e9 * np.eye(len(positions))
    return distances.argmin(axis=1), distances.min(axis=1)


def below(share):
    def fault(energies, forces, positions, types, cell, edges, threads):
        forces[nearest(positions)[1] < share * CUTOFF] *= 1.001

    return fault


def one_pair_of_types(energies, forces, positions, types, cell, edges, threads):
    other, distance = nearest(positions)
    forces[(distance < 0.45 * CUTOFF) & (types == 0) & (types[other] == 2)] *= 1.001


def own_images(energies, forces, positions, types, cell, edges, threads):
    energies[np.unique(edges[0][edges[0] == edges[1]])] += 1e-3


def second_thread(energies, forces, positions, types, cell, edges, threads):
    if threads == 2:
        forces[len(forces) // 2 :] *= 1.001


def along_with_two(forces, positions, types, setup, threads):
    if threads == 2:
        forces[-1] *= 1.01


def in_open_space(forces, positions, types, setup, threads):
    if setup.cell is not None:
        forces[0] *= 1.01


FAULTS = {
    "below 0.42 cutoffs": altered(below(0.42)),
    "at the lengths of bonds": altered(below(0.2)),
    "for close pairs": altered(below(0.13)),
    "between two types": altered(one_pair_of_types),
    "of an atom and its own image": altered(own_images),
    "in the second thread": altered(second_thread),
    "along a simulation with two threads": altered(stepper=along_with_two),
    "along a simulation in open space": altered(stepper=in_open_space),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(made, fault):
    code, references = made
    library = open_kernels(code, references=references)
    check_library(CPU, library, references)
    with pytest.raises(NotFusableError, match="fused and original model differ by"):
        check_library(FAULTS[fault], library, references)


@pytest.mark.slow
def test_the_same_code_by_another_compiler_is_checked_again(cache, made, monkeypatch):
    """The answers of the model are kept beside the code: no model is needed for it."""
    code, references = made
    spoiled = tuple(one._replace(forces=one.forces * 1.01) for one in references.structures)
    worse = references._replace(structures=spoiled)
    monkeypatch.setenv("CXX", "g++ -O1")
    with pytest.raises(NotFusableError, match="this compiler makes something else of the code"):
        open_kernels(code, references=worse)
    assert refusal(shelf("kernels"), code.source).startswith("fused and original model differ")


def test_damaged_embedded_bytes_are_told(cache, tmp_path):
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = MLPotential("nequip", modelPath=path, embedModel=True).createSystem(make_topology(["H", "C"]))
    text = openmm.XmlSerializer.serialize(system)
    content = path.read_bytes().hex()
    assert content in text
    path.unlink()
    spoiled = openmm.XmlSerializer.deserialize(text.replace(content, content[:1000] + "ff" + content[1002:]))
    with pytest.raises(openmm.OpenMMException, match="the saved potential is damaged"):
        evaluate(spoiled, np.array([[0, 0, 0], [0.38, 0, 0]]))


def test_a_compiled_file_of_the_users_is_that_of_the_cache(cache, tmp_path, monkeypatch):
    """Compiled once, whoever comes first; for a CPU it carries what is needed to be fused, for LAMMPS it does not."""
    calls = []

    def compiled(source, device, target, options):
        calls.append(list(options))
        target.write_bytes(b"whole")

    monkeypatch.setattr(aot, "compile_in_worker", compiled)
    source, device, target = locate(DATA / "tiny-nequip.ckpt"), torch.device("cpu"), tmp_path / "mine.nequip.pt2"
    aot.cached_package(source, device)
    aot.write_package(source, device, target)
    assert calls == [["--carry"]] and target.read_bytes() == b"whole"
    aot.write_package(source, device, target, ("enable_A",))
    aot.cached_package(source, device, ("enable_A",))
    aot.cached_package(source, device, target="pair_nequip")
    assert calls[1:] == [["--modifiers", "enable_A", "--carry"], ["--target", "pair_nequip"]]
    with pytest.raises(CompileError, match="cannot be written"):
        aot.write_package(source, device, tmp_path / "no folder" / "mine.nequip.pt2")
