"""Saved Systems: those of release 0.1 are read, new ones name one function, and a strict reader refuses others."""

import json
import pickle
import pickletools
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
import tomllib
from conftest import BACKENDS, DATA
from openmmml import MLPotential
from toy import make_topology, write_toy

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.errors import SavedSystemError
from openmm_nequip.forces.saved import VERSION, restore

pytestmark = pytest.mark.torchforce_stack

SAVED = DATA / "saved"
#: The folder that the files of release 0.1 name.
FOLDER = Path("/tmp/openmm-nequip-saved-systems")
#: kJ/mol of a whole System, against the energy that release 0.1 wrote down.
ENERGY = 1e-6
#: XML of each OpenMM; an older one does not read that of a newer one.
NAMES = {"openmm-8.5": ["plain", "links", "lambda", "regions"],
         "openmm-8.6": ["plain", "embedded", "links", "lambda", "regions"]}  # fmt: skip
OPENMM = tuple(int(part) for part in openmm.version.short_version.split(".")[:2])
WRITTEN = [(version, name) for version, names in NAMES.items() for name in names
           if OPENMM >= tuple(map(int, version.removeprefix("openmm-").split(".")))]  # fmt: skip

pytestmark = pytest.mark.torchforce_stack


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The models where release 0.1 had them; copied whole, since another test process may read them."""
    FOLDER.mkdir(exist_ok=True)
    scratch = tmp_path_factory.mktemp("models")
    for name in ("tiny-nequip.nequip.zip", "tiny-nequip.nequip.pth", "peptide-water.prmtop", "peptide-water.inpcrd"):
        if not (FOLDER / name).exists():
            shutil.move(shutil.copy(DATA / name, scratch / name), FOLDER / name)
    return FOLDER


def positions():
    return app.AmberInpcrdFile(str(DATA / "peptide-water.inpcrd")).positions


def energy(system, at):
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(at)
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def pickles(text):
    """The pickles in the XML of a System."""
    root = ElementTree.fromstring(text)
    return [bytes.fromhex(node.get("function")) for node in root.iter("Force") if node.get("type") == "PythonForce"]


def named(content):
    """Everything that a pickle names: module and function or class."""
    texts, found = [], set()
    for opcode, argument, _ in pickletools.genops(content):
        if "UNICODE" in opcode.name:
            texts.append(argument)
        elif opcode.name == "GLOBAL":
            found.add(argument.replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
    return found


@pytest.mark.parametrize(("version", "name"), WRITTEN)
def test_systems_of_release_0_1_have_their_energy(models, version, name):
    expected = json.loads((SAVED / version / "energies.json").read_text())[name]
    text = (SAVED / version / f"{name}.xml").read_text()
    for system in (openmm.XmlSerializer.deserialize(text), openmm_nequip.read_system(text)):
        assert energy(system, positions()) == pytest.approx(expected, abs=ENERGY)
    # What was read is written in today's form, and read again.
    again = openmm.XmlSerializer.serialize(system)
    assert energy(openmm_nequip.read_system(again), positions()) == pytest.approx(expected, abs=ENERGY)


@pytest.mark.skipif("TorchForce" not in BACKENDS, reason="no working openmmtorch; the other stack runs this")
def test_a_torch_force_of_release_0_1_has_its_energy():
    expected = json.loads((SAVED / "openmm-8.5" / "energies.json").read_text())["torchforce"]
    system = openmm_nequip.read_system(SAVED / "openmm-8.5" / "torchforce.xml")
    assert energy(system, positions()) == pytest.approx(expected, abs=ENERGY)


@pytest.mark.skipif(OPENMM < (8, 6), reason="its checkpoint is of OpenMM 8.6")
def test_a_hybrid_run_of_release_0_1_goes_on(models, tmp_path):
    folder = shutil.copytree(SAVED / "run", tmp_path / "run")
    # Untrained, the model holds nothing together: the watch may say so, by the code 3.
    assert main(["run", "--restart", "--output", str(folder), "--steps", "20"]) in (0, 3)
    rows = (folder / "log.csv").read_text().splitlines()
    before = (SAVED / "run" / "log.csv").read_text().splitlines()
    assert rows[: len(before)] == before and [row.split(",")[0] for row in rows[len(before) :]] == ["15", "20"]
    assert json.loads((folder / "summary.json").read_text())["steps"] == 20
    assert tomllib.loads((folder / "config.toml").read_text())["steps"] == 20


@pytest.fixture
def system(tmp_path):
    path = write_toy(tmp_path / "toy.pth")
    potential = MLPotential("nequip", modelPath=path, backend="PythonForce", embedModel=True)
    return potential.createSystem(make_topology(["H", "C", "O"]))


AT = [[0, 0, 0], [0.4, 0, 0], [0, 0.5, 0.1]]


def test_a_saved_system_names_one_function(system):
    """Whatever moves inside the package, files stay readable: they name nothing else of it."""
    (content,) = pickles(openmm.XmlSerializer.serialize(system))
    assert named(content) == {"openmm_nequip.forces.saved.restore"}
    assert energy(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system)), AT) == energy(system, AT)


@pytest.mark.slow
def test_another_process_reads_it(system, tmp_path):
    path = tmp_path / "system.xml"
    path.write_text(openmm.XmlSerializer.serialize(system))
    code = (
        "import sys, openmm, openmm_nequip\n"
        "system = openmm_nequip.read_system(sys.argv[1])\n"
        "platform = openmm.Platform.getPlatformByName('Reference')\n"
        "context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)\n"
        f"context.setPositions({AT})\n"
        "print(repr(context.getState(getEnergy=True).getPotentialEnergy()._value))\n"
    )
    out = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert float(out) == pytest.approx(energy(system, AT), abs=ENERGY)


class Payload:
    """A pickle that writes a file where it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def planted(system, content):
    """The XML of a System whose force has another function."""
    text = openmm.XmlSerializer.serialize(system)
    (own,) = pickles(text)
    return text.replace(own.hex(), content.hex())


def test_a_planted_function_does_not_run(system, tmp_path):
    mark = tmp_path / "executed"
    text = planted(system, pickle.dumps(Payload(mark)))
    with pytest.raises(SavedSystemError, match=r"would run _?io\.open, which is not of openmm-nequip"):
        openmm_nequip.read_system(text)
    inside = (SAVED / "openmm-8.5" / "lambda.xml").read_text()  # the force is a collective variable
    inside = inside.replace(pickles(inside)[0].hex(), pickle.dumps(Payload(mark)).hex())
    with pytest.raises(SavedSystemError, match="would run"):
        openmm_nequip.read_system(inside)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], "is damaged"),
        (lambda content: b"no pickle", "is damaged"),
        (lambda content: pickle.dumps(Later()), "version 99 of the form, and this release of openmm-nequip reads 1"),
        (lambda content: pickle.dumps(Empty()), "is damaged: KeyError: 'parts'"),
    ],
)
def test_what_cannot_be_read_says_why(system, change, message):
    (content,) = pickles(openmm.XmlSerializer.serialize(system))
    with pytest.raises(SavedSystemError, match=message):
        openmm_nequip.read_system(planted(system, change(content)))


class Later:
    """What a later release may write."""

    def __reduce__(self):
        return restore, (99, {})


class Empty:
    """A saved form without its content."""

    def __reduce__(self):
        return restore, (VERSION, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<System", "is no XML of a System"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><System/>', "declares entities"),
        ("<State/>", "cannot read the System|expected a System"),
    ],
)
def test_texts_that_are_no_system(text, message):
    with pytest.raises(SavedSystemError, match=message):
        openmm_nequip.read_system(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        openmm_nequip.read_system(tmp_path / "missing.xml")
