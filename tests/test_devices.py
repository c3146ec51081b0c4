"""The model's device follows the Context; no GPU is needed to test the decision."""

import logging
import types

import pytest
import torch

from openmm_nequip import devices

pytestmark = pytest.mark.torchforce_stack


class FakeContext:
    """A Context on some platform, with its DeviceIndex property."""

    def __init__(self, name, index="0", device=""):
        self.name = name
        self.facts = {"DeviceIndex": index, "DeviceName": device}

    def getPlatform(self):
        return self

    def getName(self):
        return self.name

    def getPropertyValue(self, context, name):
        assert context is self
        return self.facts[name]


@pytest.fixture
def with_cuda(monkeypatch):
    cards = [
        types.SimpleNamespace(name="AMD Instinct MI250X", gcnArchName="gfx90a:sramecc+:xnack-"),
        types.SimpleNamespace(name="NVIDIA H100 80GB HBM3"),
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(cards))
    monkeypatch.setattr(torch.cuda, "get_device_properties", cards.__getitem__)
    monkeypatch.setattr(devices, "current_cuda_device", lambda: None)


@pytest.mark.parametrize(
    ("contexts", "expected"),
    [
        ([FakeContext("CUDA", "2")], "cuda:2"),
        ([FakeContext("CUDA", "1,3")], "cuda:1"),
        ([FakeContext("HIP", "1")], "cuda:1"),
        ([FakeContext("CPU")], "cpu"),
        ([FakeContext("Reference"), FakeContext("CPU")], "cpu"),
        ([FakeContext("Reference"), FakeContext("CUDA", "1"), FakeContext("CPU")], "cuda:1"),
        ([FakeContext("OpenCL", "0", "NVIDIA H100 80GB HBM3")], "cuda:1"),
        ([FakeContext("OpenCL", "0", "gfx90a:sramecc+:xnack-")], "cuda:0"),
        ([FakeContext("OpenCL", "0", "NVIDIA H100 80GB HBM3,NVIDIA H100 80GB HBM3")], "cuda:1"),
        ([FakeContext("OpenCL", "0", "Intel(R) Arc(TM) A770 Graphics")], "cpu"),
        ([], "cpu"),
    ],
)
def test_the_context_decides(with_cuda, contexts, expected):
    assert devices.choose_device(contexts) == torch.device(expected)


def test_what_the_device_is_not_is_said(with_cuda, caplog):
    with caplog.at_level(logging.INFO):
        devices.choose_device([FakeContext("OpenCL", "0", "Intel(R) Arc(TM) A770 Graphics")])
        devices.choose_device([FakeContext("CUDA"), FakeContext("Reference")])
    assert [record.message for record in caplog.records] == [
        "the OpenCL platform runs on Intel(R) Arc(TM) A770 Graphics, which torch does not have: the model runs on the "
        "CPU",
        "Contexts on CPUs and on one GPU are alive: the model runs on cuda:0 for all of them",
    ]


def test_without_cuda_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device([FakeContext("CUDA", "2")]) == torch.device("cpu")


def test_the_calling_thread_decides_between_contexts(with_cuda, monkeypatch):
    contexts = [FakeContext("CUDA", "0"), FakeContext("CUDA", "1")]
    with pytest.raises(RuntimeError, match="Contexts on different devices are alive .*cuda:0, cuda:1.*give device="):
        devices.choose_device(contexts)
    monkeypatch.setattr(devices, "current_cuda_device", lambda: torch.device("cuda:1"))
    assert devices.choose_device(contexts) == torch.device("cuda:1")


def test_live_contexts_are_found():
    import openmm

    system = openmm.System()
    system.addParticle(1)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    assert context in devices.live_contexts()
    assert devices.device_of_context(context) == torch.device("cpu")


@pytest.mark.gpu
def test_a_cuda_context_runs_its_model_on_its_device(tmp_path):
    """Fails where there is no CUDA device: run with -m gpu on a machine that has one."""
    import openmm
    from openmmml import MLPotential
    from toy import evaluate, lattice, make_topology, reference_energy, write_toy

    assert torch.cuda.is_available(), "this test was asked for, but torch sees no CUDA device"
    positions, box = lattice(3, 0.40, 0.02)
    path = write_toy(tmp_path / "toy.nequip.pth")
    system = MLPotential("nequip", modelPath=str(path)).createSystem(make_topology(["Ar"] * 27, box))
    energy, _ = evaluate(system, positions, "CUDA")
    assert energy == pytest.approx(reference_energy(positions, box), abs=1e-2)
    assert openmm.Platform.getPlatformByName("CUDA")
