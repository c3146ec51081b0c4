"""Which platform is taken for somebody who named none; OpenCL on a CPU never, with a real one where pocl is there."""

import json
import logging
import os
import subprocess
import sys

import openmm
import pytest
from pocl import needs_pocl, pocl_environment

from openmm_nequip.app import platforms
from openmm_nequip.app.platforms import on_fastest, opencl_fault, opencl_obstacle, sensible_platforms


@pytest.mark.parametrize(
    ("device", "implementation", "fault"),
    [
        ("cpu-haswell-Intel(R) Xeon(R) CPU @ 2.20GHz", "Portable Computing Language", "is a CPU"),
        ("pthread-skylake-avx512-AMD EPYC", "Portable Computing Language", "is a CPU"),
        ("Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "Intel(R) OpenCL", "is a CPU"),
        ("AMD Radeon RX 6800 (radeonsi, navi21)", "rusticl", "does not support this OpenCL implementation (rusticl"),
        ("AMD Radeon Graphics", "Clover", "does not support"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA CUDA", ""),
        ("gfx90a:sramecc+:xnack-", "AMD Accelerated Parallel Processing", ""),
        ("Intel(R) Data Center GPU Max 1100", "Intel(R) OpenCL Graphics", ""),
        ("Apple M2", "Apple", ""),
    ],
)
def test_devices_that_are_not_to_be_chosen(device, implementation, fault):
    found = opencl_fault(device, implementation)
    assert fault in found and bool(found) is bool(fault)


class Platforms:
    """OpenMM's class Platform with four platforms, of which one works worse than it says."""

    speeds = {"Reference": 1.0, "CPU": 10.0, "CUDA": 100.0, "OpenCL": 50.0}

    def __init__(self, name):
        self.name = name

    def getName(self):
        return self.name

    def getSpeed(self):
        return self.speeds[self.name]

    @classmethod
    def getNumPlatforms(cls):
        return len(cls.speeds)

    @classmethod
    def getPlatform(cls, index):
        return cls(list(cls.speeds)[index])

    @classmethod
    def getPlatformByName(cls, name):
        return cls(name)


def no_cuda(name):
    """A platform's work, CUDA having no driver."""
    if name == "CUDA":
        raise openmm.OpenMMException("no driver")
    return name


@pytest.mark.parametrize(("obstacle", "chosen"), [("its device is a CPU (pthread)", "CPU"), ("", "OpenCL")])
def test_the_fastest_that_is_a_gpu_and_works(monkeypatch, caplog, obstacle, chosen):
    asked = []
    monkeypatch.setattr(openmm, "Platform", Platforms)
    monkeypatch.setattr(platforms, "opencl_obstacle", lambda index: asked.append(index) or obstacle)
    with caplog.at_level(logging.INFO):
        assert on_fastest(no_cuda, "1") == chosen
    assert "platform CUDA does not work here (no driver)" in caplog.text and asked == ["1"]
    assert (f"platform OpenCL is left out: {obstacle}" in caplog.text) is bool(obstacle)
    expected = ["Reference", "CPU", "CUDA"] + ["OpenCL"] * (not obstacle)
    assert sensible_platforms() == expected


def test_opencl_without_a_device(monkeypatch):
    opencl_obstacle.cache_clear()
    monkeypatch.setattr(openmm.Platform, "getPlatformByName", lambda name: openmm.Platform.getPlatform(0))
    monkeypatch.setattr(openmm, "Context", lambda *arguments: no_cuda("CUDA"))
    assert opencl_obstacle() == "it does not work here (no driver)"
    opencl_obstacle.cache_clear()


#: What a user without wishes gets: the choice itself, a run's Simulation, the box's density, and OpenMM's own choice.
_PROBE = """
import json, types, openmm, openmm.app as app
from openmm_nequip.app.platforms import opencl_obstacle, present_platforms, sensible_platforms
from openmm_nequip.app.run import density, md_system
system, topology = openmm.System(), app.Topology()
residue = topology.addResidue("A", topology.addChain())
for i in range(2):
    system.addParticle(1.0)
    topology.addAtom("A", app.Element.getBySymbol("Ar"), residue)
system.setDefaultPeriodicBoxVectors(*[openmm.Vec3(*[3.0 * (i == k) for k in range(3)]) for i in range(3)])
nonbonded = openmm.NonbondedForce()
nonbonded.setNonbondedMethod(nonbonded.CutoffPeriodic)
for i in range(2):
    nonbonded.addParticle(0, 0.3, 1)
system.addForce(nonbonded)
config = types.SimpleNamespace(platform=None, threads=None, device=None, temperature=300.0, pressure=1.0, seed=1)
setup = types.SimpleNamespace(ranks=None, system=system, structure=types.SimpleNamespace(topology=topology))
run = md_system.make_simulation(config, setup, openmm.VerletIntegrator(0.001))
box = density._simulation(config, topology, openmm.XmlSerializer.clone(system))
name = lambda simulation: simulation.context.getPlatform().getName()
print(json.dumps({"present": present_platforms(), "sensible": sensible_platforms(), "run": name(run),
                  "box": name(box), "obstacle": opencl_obstacle()}))
"""


@pytest.mark.slow
@needs_pocl
def test_with_pocl_on_the_machine():
    """OpenCL is there, says it is the fastest, and is nobody's choice."""
    environment = os.environ | pocl_environment()
    done = subprocess.run([sys.executable, "-c", _PROBE], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "OpenCL" in found["present"] and "OpenCL" not in found["sensible"]
    assert found["run"] == found["box"] == "CPU" and "Portable Computing Language" in found["obstacle"]
