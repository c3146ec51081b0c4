"""CONTRIBUTING's list of files for a new model format is true: a toy format is added to a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import openmm_nequip

PACKAGE = Path(openmm_nequip.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"

#: A format of text files: "springs H O 2.5", the types and the force constant of springs between all atoms.
FORMAT = '''
import torch

from ...graph.graph import NO_EDGES, EdgeNeeds, Outputs
from ..base import Model, ModelInfo
from ..format import Format


class Springs(Model):
    def __init__(self, info, device, constant):
        super().__init__(info, device)
        self.needs = EdgeNeeds(NO_EDGES)
        self.constant = constant

    def evaluate(self, graph):
        vectors = graph.positions[None] - graph.positions[:, None]
        return Outputs(0.25 * self.constant * (vectors**2).sum(), self.constant * vectors.sum(1))


def words(source):
    with open(source.path) as file:
        return file.read().split()


def read_info(source):
    return ModelInfo(type_names=tuple(words(source)[1:-1]), cutoff=None, dtype="float64")


FORMAT = Format(
    kind="springs", suffix=".springs", runs_code=False, can_compile=False, can_fuse=False,
    recognise=lambda contents: contents.head.startswith(b"springs"),
    read_info=read_info,
    open=lambda source, device, execution: Springs(read_info(source), device, float(words(source)[-1])),
)
'''
USE = '''
import sys
import numpy as np, openmm
from openmm.app import Element, Topology
from openmmml import MLPotential
import openmm_nequip
assert openmm_nequip.__file__.startswith(sys.argv[1]), openmm_nequip.__file__
from openmm_nequip.app.cli import main
topology = Topology()
residue = topology.addResidue("X", topology.addChain())
for symbol in "HO":
    topology.addAtom(symbol, Element.getBySymbol(symbol), residue)
potential = MLPotential("nequip", modelPath=sys.argv[2], lengthUnit="nm", energyUnit="kJ/mol")
for embed in (False, True):
    system = potential.createSystem(topology, embedModel=embed)
    system = openmm_nequip.read_system(openmm.XmlSerializer.serialize(system))
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([[0, 0, 0], [0.2, 0, 0]])
    state = context.getState(getEnergy=True, getForces=True)
    assert abs(state.getPotentialEnergy()._value - 0.5 * 2.5 * 0.04) < 1e-12
    assert np.allclose(state.getForces(asNumpy=True)._value, [[0.5, 0, 0], [-0.5, 0, 0]])
sys.exit(main(["info", sys.argv[2]]))
'''


def section(title):
    """A section of CONTRIBUTING."""
    return CONTRIBUTING.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.mark.slow
def test_a_model_format_is_one_file_and_one_row(tmp_path):
    """createSystem, XML, embedding and `info` work, and no other file was touched."""
    files = re.findall(r"^\d\. `([\w/]+\.py)`", section("A model format"), re.MULTILINE)
    assert files[0] == "openmm_nequip/models/formats/NAME.py"
    assert files[1] == "openmm_nequip/models/formats/__init__.py"
    shutil.copytree(PACKAGE, tmp_path / "openmm_nequip", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / files[0].replace("NAME", "springs")).write_text(FORMAT)
    table = tmp_path / files[1]
    text = table.read_text()
    text = text.replace("from . import aotinductor,", "from . import springs, aotinductor,")
    start = "FORMATS: tuple[Format, ...] = (\n"
    table.write_text(text.replace(start, f"{start}    springs.FORMAT,\n"))
    model = tmp_path / "model.springs"
    model.write_text("springs H O 2.5")
    environment = dict(os.environ, PYTHONPATH=str(tmp_path), OPENMM_NEQUIP_CACHE=str(tmp_path / "cache"))
    command = [sys.executable, "-c", USE, str(tmp_path), str(model)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^kind +springs$", done.stdout, re.MULTILINE) and "H O" in done.stdout


def test_the_other_lists_name_files_that_exist():
    """A force class, a kernel reader, a device, an engine's input."""
    titles = ("A force class in hybrid Systems", "A kernel reader", "A device for kernels", "An engine's input")
    for title in titles:
        named = re.findall(r"`((?:openmm_nequip|tests)/[\w/.]+)`", section(title))
        assert named, title
        for name in named:
            assert "NAME" in name or (PACKAGE.parent / name).exists(), f"{title}: {name}"
