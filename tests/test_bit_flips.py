"""Flipped bits are noticed, or change nothing; benchmarks/bit_flips.py evaluates the models as well."""

import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import openmm
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from toy import evaluate, make_topology, write_toy

import openmm_nequip
from openmm_nequip import ModelFileError
from openmm_nequip.errors import SavedSystemError
from openmm_nequip.models import locate
from openmm_nequip.upstream.openmm_messages import says_damaged

FLIPS = 200
BENCHMARK = Path(__file__).parent.parent / "benchmarks" / "bit_flips.py"
FORMATS = ("tiny-nequip.ckpt", "tiny-nequip.nequip.zip", "tiny-nequip.nequip.pth", "tiny-allegro.nequip.pth")
#: What a message says of such a file: the archive is damaged, or so much that it is none any more.
WORDS = ("is damaged", "is truncated", "no zip archive", "not a model", "outside its own folder", "not one of")


def entries(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def flip(content, place):
    spoiled = bytearray(content)
    spoiled[place // 8] ^= 1 << place % 8
    return bytes(spoiled)


@pytest.mark.parametrize("name", FORMATS)
def test_model_files(name, tmp_path):
    """200 of each format: refused as damaged, or all entries are what they were."""
    content, draw, path = (DATA / name).read_bytes(), random.Random(11), tmp_path / name
    whole, refused = entries(content), 0
    for place in draw.sample(range(8 * len(content)), FLIPS):
        spoiled = flip(content, place)
        path.write_bytes(spoiled)
        try:
            locate(path)
        except ModelFileError as error:
            assert any(word in str(error) for word in WORDS), error
            refused += 1
        else:
            assert entries(spoiled) == whole, f"bit {place}"
    assert refused > 0.8 * FLIPS


@pytest.mark.slow
def test_a_sample_of_everything_that_is_believed():
    """The whole of it, 200 flips each, is benchmarks/bit_flips.py; here each file is used as there."""
    names = ["model .ckpt", "write_system", "finished run: provenance", "finished run: checkpoint.chk",
             "finished run: trajectory", "finished run: config"]  # fmt: skip
    command = [sys.executable, str(BENCHMARK), "--flips", "4", "--seed", "3", "--only", *names]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == len(names) + 1, found
    assert found["all"]["noticed"] > 12


def test_saved_potentials(tmp_path):
    """In the function of a System's force: its numbers bear a digest."""
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = MLPotential("nequip", modelPath=path, backend="PythonForce").createSystem(make_topology(["H", "C", "Ar"]))
    text, positions = openmm.XmlSerializer.serialize(system), np.array([[0, 0, 0], [0.38, 0, 0], [0, 0.4, 0]])
    start = text.index('function="') + 10
    end = text.index('"', start)
    expected, draw, harmless = evaluate(system, positions)[0], random.Random(4), 0
    content = bytes.fromhex(text[start:end])
    for place in draw.sample(range(8 * len(content)), FLIPS):
        spoiled = text[:start] + flip(content, place).hex() + text[end:]
        try:
            found = openmm_nequip.read_system(spoiled)
        except SavedSystemError:
            continue
        assert evaluate(found, positions)[0] == expected, f"bit {place}"
        harmless += 1
    assert harmless < 0.2 * FLIPS


@pytest.mark.parametrize("name", FORMATS[:3])
def test_torchs_reader_says_so_in_known_words(name):
    """Where its own checks see what Python's reader lets pass."""
    content = (DATA / name).read_bytes()
    with pytest.raises(RuntimeError) as caught:
        torch.jit.load(io.BytesIO(content[: len(content) // 2]))
    assert says_damaged(str(caught.value))
