"""Saving and copying mixed Systems, also for a process that has not built them, and the time to build a large one."""

import copy
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit
from test_mixed_standin import DIPEPTIDE, SIDE_CHAIN, build, evaluate, solution, solution_system

pytestmark = pytest.mark.torchforce_stack

ENERGY_TOLERANCE = 1e-9  # relative
SETUP_SECONDS = 60.0  # generous; about 10 s on two busy cores
REGION_ATOMS, BOX_ATOMS = 2000, 30000

READER = """
import sys
import openmm, numpy
from test_mixed_standin import evaluate
system = openmm.XmlSerializer.deserialize(open(sys.argv[1]).read())
print(repr(float(evaluate(system, numpy.load(sys.argv[2]))[0])))
"""


@pytest.mark.slow
@pytest.mark.parametrize("interpolate", [False, True], ids=["mixed", "interpolated"])
def test_copies_and_files_give_the_same_energy(interpolate, tmp_path):
    topology, points = solution()
    atoms = [SIDE_CHAIN, [22, 23, 24]] if interpolate else DIPEPTIDE
    system = build(topology, solution_system(method=app.PME), atoms, interpolate=interpolate, mlLongRange=True).system
    energy = evaluate(system, points)[0]
    text = openmm.XmlSerializer.serialize(system)
    assert openmm.XmlSerializer.serialize(openmm.XmlSerializer.deserialize(text)) == text
    assert evaluate(copy.deepcopy(system), points)[0] == pytest.approx(energy, rel=ENERGY_TOLERANCE)

    (tmp_path / "system.xml").write_text(text)
    np.save(tmp_path / "points.npy", points)
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    result = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path / "system.xml"), str(tmp_path / "points.npy")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[-1]) == pytest.approx(energy, rel=ENERGY_TOLERANCE)


def water_box(count):
    """Topology and flexible System of `count` waters (no positions), made by hand because ForceField takes minutes."""
    topology, system = app.Topology(), openmm.System()
    chain = topology.addChain()
    bonds, angles, pairs = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.NonbondedForce()
    pairs.setNonbondedMethod(openmm.NonbondedForce.PME)
    oxygen, hydrogen = (app.Element.getBySymbol(symbol) for symbol in "OH")
    for o in range(0, 3 * count, 3):
        residue = topology.addResidue("HOH", chain)
        atoms = [topology.addAtom(f"A{k}", hydrogen if k else oxygen, residue) for k in range(3)]
        for k in range(3):
            system.addParticle(1.0 if k else 16.0)
            pairs.addParticle(0.417 if k else -0.834, 0.3, 0.0 if k else 0.6)
        for k in (1, 2):
            topology.addBond(atoms[0], atoms[k])
            bonds.addBond(o, o + k, 0.0957, 4e5)
            pairs.addException(o, o + k, 0.0, 1.0, 0.0)
        pairs.addException(o + 1, o + 2, 0.0, 1.0, 0.0)
        angles.addAngle(o + 1, o, o + 2, 1.82, 800.0)
    edge = (count * 0.03) ** (1 / 3)
    system.setDefaultPeriodicBoxVectors(*(np.eye(3) * edge * unit.nanometer))
    for force in (bonds, angles, pairs):
        system.addForce(force)
    return topology, system


@pytest.mark.slow
def test_large_region_is_set_up_in_seconds():
    topology, system = water_box(BOX_ATOMS // 3)
    start = time.perf_counter()
    mixed = build(topology, system, range(REGION_ATOMS))
    seconds = time.perf_counter() - start
    force = next(f for f in mixed.system.getForces() if isinstance(f, openmm.NonbondedForce))
    assert force.getNumExceptions() >= REGION_ATOMS * (REGION_ATOMS - 1) // 2
    assert seconds < SETUP_SECONDS
    print(f"{REGION_ATOMS} of {BOX_ATOMS} atoms: {seconds:.1f} s")
