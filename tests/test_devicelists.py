"""Lists on a device hold what the host's hold. The device is the CPU here: what a GPU adds is where tensors are."""

import logging

import numpy as np
import pytest
import torch
from conftest import DATA
from static import CUTOFF, TapeRecorder, build, structure

from openmm_nequip import load_model
from openmm_nequip.evaluate import evaluator as evaluator_module
from openmm_nequip.evaluate.cuda_graphs import GraphedModel
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.graph import neighbors_cuda
from openmm_nequip.graph.graph import Outputs
from openmm_nequip.graph.neighbors import CandidateList, NeighborList
from openmm_nequip.graph.neighbors_cuda import DeviceCandidateList, DeviceNeighborList
from openmm_nequip.graph.padding import PAD_DISTANCE, PaddedNeighborList
from openmm_nequip.graph.staging import Staging
from openmm_nequip.units import Units

SKIN = 0.7
CPU = Staging(torch.device("cpu"))
CUTOFFS = ((3.0, 3.5), (3.5, CUTOFF))
#: Energy, kJ/mol, and forces, kJ/mol/nm: two orders of summation in float64.
ENERGY, FORCE = 1e-8, 1e-8


def rows(found):
    """Edges and shifts as sorted rows."""
    edge_index, shifts = (np.asarray(array) for array in found)
    table = np.column_stack([edge_index.T, np.rint(shifts).astype(int)])
    return table[np.lexsort(table.T)]


def cells():
    """A cube, a skewed cell, a cell smaller than the cutoff with several images of each pair, and nothing periodic."""
    positions, cell = structure(True, n=4)
    skewed = cell.copy()
    skewed[1, 0], skewed[2, 0], skewed[2, 1] = -3.1, 2.2, 3.9
    yield "cube", positions, cell, True
    yield "skewed", positions @ np.linalg.inv(cell) @ skewed, skewed, True
    pair, small = np.array([[0.0, 0, 0], [0.4, 1.2, 1.5]]), np.array([[2.4, 0, 0], [-1.2, 2.2, 0], [0.9, 0.3, 5.0]])
    yield "small", pair, small, True
    yield "cluster", positions, np.eye(3) * 10 * CUTOFF, False
    exploded = positions.copy()
    exploded[7] += [3e6, 0, 0]
    yield "exploded", exploded, np.eye(3) * 10 * CUTOFF, False
    yield "molecule", positions[:20], np.eye(3) * 10 * CUTOFF, False


@pytest.mark.parametrize(("positions", "cell", "periodic"), [each[1:] for each in cells()], ids=[c[0] for c in cells()])
def test_the_pairs_are_those_of_the_host(positions, cell, periodic, caplog):
    found = DeviceCandidateList(CUTOFF, SKIN, periodic, CPU)(positions, cell)
    assert all(isinstance(tensor, torch.Tensor) and tensor.is_contiguous() for tensor in found)
    assert found.index.dtype == torch.int64 and found.shifts.dtype == torch.float64
    assert np.array_equal(rows(found), rows(CandidateList(CUTOFF, SKIN, periodic)(positions, cell)))
    assert not caplog.records


@pytest.mark.parametrize("periodic", [True, False])
def test_made_anew_when_the_hosts_is(periodic):
    """And the very same tensors in between."""
    positions, cell = structure(periodic, n=4)
    device, host = DeviceCandidateList(CUTOFF, SKIN, periodic, CPU), CandidateList(CUTOFF, SKIN, periodic)
    rng = np.random.default_rng(3)
    before, kept = (None, None), 0
    for step in range(30):
        positions = positions + rng.normal(0, 0.04, positions.shape)
        if step == 20:
            cell = cell * 1.01
        found = device(positions, cell), host(positions, cell)
        assert (found[0] is before[0]) == (found[1] is before[1])
        assert np.array_equal(rows(found[0]), rows(found[1]))
        kept += found[0] is before[0]
        before = found
    assert 5 < kept < 29


@pytest.mark.parametrize("cutoffs", [None, CUTOFFS])
@pytest.mark.parametrize("periodic", [True, False])
def test_edges_are_those_within_the_cutoffs(periodic, cutoffs):
    positions, cell = structure(periodic, n=4)
    types = np.arange(64) % 2
    device = DeviceNeighborList(CUTOFF, SKIN, periodic, types, cutoffs, CPU)
    host = NeighborList(CUTOFF, 0.0, periodic, types, cutoffs)
    rng = np.random.default_rng(4)
    for _ in range(15):
        positions = positions + rng.normal(0, 0.05, positions.shape)
        assert np.array_equal(rows(device(positions, cell)), rows(host(positions, cell)))


def test_padding_is_the_same_on_the_device():
    positions, cell = structure(True, n=4)
    device = PaddedNeighborList(DeviceCandidateList(CUTOFF, SKIN, True, CPU), PAD_DISTANCE * CUTOFF)
    host = PaddedNeighborList(CandidateList(CUTOFF, SKIN, True), PAD_DISTANCE * CUTOFF)
    found, expected = device(positions, cell), host(positions, cell)
    assert device(positions, cell) is found
    assert found.count == expected.count and np.array_equal(rows(found), rows(expected))
    count = CandidateList(CUTOFF, SKIN, True)(positions, cell).count
    assert np.array_equal(found.index[:, count:], expected.index[:, count:])
    assert np.array_equal(found.shifts[count:], expected.shifts[count:]) and found.index.is_contiguous()


class Lost(neighbors_cuda.VesinNeighborList):
    """The library's search with one pair missing."""

    def compute(self, *args):
        pairs, shifts = super().compute(*args)
        return pairs[1:].clone(), shifts[1:]


class Full(neighbors_cuda.VesinNeighborList):
    """The library's search when an atom has more pairs than it has room for."""

    def compute(self, *args):
        raise RuntimeError("The number of neighbor pairs exceeds the maximum capacity")


@pytest.mark.parametrize(("broken", "reason"), [(Lost, "finds other pairs"), (Full, "exceeds the maximum capacity")])
def test_a_list_that_cannot_be_trusted_is_made_on_the_host(broken, reason, caplog, monkeypatch):
    positions, cell = structure(True, n=4)
    monkeypatch.setattr(neighbors_cuda, "VesinNeighborList", broken)
    candidates = DeviceCandidateList(CUTOFF, SKIN, True, CPU)
    expected = rows(CandidateList(CUTOFF, SKIN, True)(positions, cell))
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(rows(candidates(positions, cell)), expected)
        assert np.array_equal(rows(candidates(positions + 1.0, cell)), expected)
    assert len(caplog.records) == 1 and reason in caplog.text and "on the host" in caplog.text


def test_compared_again_when_the_library_searches_otherwise(monkeypatch):
    """By all pairs or by cells, as the box's widths and angles decide; not at every list."""
    positions, cell = structure(True, n=4)
    candidates, compared = DeviceCandidateList(CUTOFF, SKIN, True, Staging(torch.device("cpu"))), []
    agree = neighbors_cuda.same_pairs
    monkeypatch.setattr(neighbors_cuda, "same_pairs", lambda *given: compared.append(len(compared)) or agree(*given))
    skewed = cell.copy()
    skewed[1, 0] = 1.0
    counts = []
    for box in (cell, cell * 1.01, cell * 1.4, cell * 1.02, skewed, skewed * 1.01):
        found = candidates(positions @ np.linalg.inv(cell) @ box, box)
        assert found.count > 100
        counts.append(len(compared))
    assert counts == [1, 1, 2, 2, 3, 3]
    candidates(positions[:50], cell)
    assert len(compared) == 4, "another number of atoms"


@pytest.mark.parametrize("name", ["nequip", "fused"])
def test_one_copy_there_and_one_back(name, monkeypatch):
    """Positions and cell in one, energy, forces and all else in one; made lists read the same copy."""
    model = load_model(DATA / "tiny-nequip.nequip.zip", kernels="fused") if name == "fused" else build(name)
    monkeypatch.setattr(evaluator_module, "keeps_lists", lambda device: True)
    monkeypatch.setattr(model, "stepper", lambda request: None)
    positions, cell = structure(True, n=4)
    layout = Placement(64, np.arange(64) % len(model.info.type_names))
    evaluator = Evaluator(model, Units(), layout, True, 0.05)
    for step in range(1, 5):
        evaluator(positions * 0.1 * (1 + 0.01 * step), cell * 0.1 * (1 + 0.01 * step))  # each makes a list
        assert (evaluator.staging.uploads, evaluator.staging.downloads) == (step, step)


def test_answers_are_not_overwritten_and_new_arrays_are_seen():
    staging = Staging(torch.device("cpu"))
    positions, cell = structure(True)
    first = staging(positions, cell)
    again = staging(positions, cell)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(first, again, strict=True))
    assert staging.uploads == 1 and first[1].data_ptr() % 64 == first[0].data_ptr() % 64
    other = staging(positions + 1, cell)
    assert torch.equal(first[0], torch.from_numpy(positions)) and torch.equal(other[0], first[0] + 1)
    out = Outputs(torch.tensor(2.5), torch.ones(27, 3), virial=torch.eye(3, dtype=torch.float32) * 0.1)
    one, two = staging.fetch(out), staging.fetch(out.map(lambda name, value: value * 2))
    assert float(one.energy) == 2.5 and float(two.energy) == 5.0 and one.atomic_energies is None
    assert one.virial.dtype == torch.float64 and torch.equal(two.virial, one.virial * 2) and two.forces.shape == (27, 3)


#: Models that are built here.
EAGER = ["nequip", "nequip, ZBL, cutoffs by type", "allegro"]
WAYS = [("fused", False), *[(name, graphs) for name in EAGER for graphs in (False, True)]]


@pytest.mark.parametrize(("name", "graphs"), WAYS)
def test_energy_and_forces_along_a_walk(name, graphs, monkeypatch):
    """Through the evaluator, for models that want the edges within the cutoff, candidates, or constant shapes."""
    model = load_model(DATA / "tiny-nequip.nequip.zip", kernels="fused") if name == "fused" else build(name)
    positions, cell = structure(True, n=4)
    layout = Placement(64, np.arange(64) % len(model.info.type_names))
    expected = Evaluator(model, Units(), layout, True, 0.05)
    monkeypatch.setattr(evaluator_module, "keeps_lists", lambda device: True)
    monkeypatch.setattr(model, "stepper", lambda request: None)  # fused kernels would otherwise go their own way
    evaluator = Evaluator(GraphedModel(model, TapeRecorder()) if graphs else model, Units(), layout, True, 0.05)
    rng = np.random.default_rng(6)
    for _ in range(6):
        positions = positions + rng.normal(0, 0.1, positions.shape)
        one, other = evaluator(positions * 0.1, cell * 0.1), expected(positions * 0.1, cell * 0.1)
        scale = max(1.0, np.abs(other[1]).max())
        assert abs(one[0] - other[0]) < ENERGY * scale and np.abs(one[1] - other[1]).max() < FORCE * scale


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("positions", "cell", "periodic"), [each[1:] for each in cells()], ids=[c[0] for c in cells()])
def test_on_a_gpu(positions, cell, periodic, caplog):
    found = DeviceCandidateList(CUTOFF, SKIN, periodic, Staging(torch.device("cuda")))(positions, cell)
    assert found.index.device.type == found.shifts.device.type == "cuda"
    expected = rows(CandidateList(CUTOFF, SKIN, periodic)(positions, cell))
    assert np.array_equal(rows([tensor.cpu() for tensor in found]), expected)
    assert not caplog.records, "vesin could not be used"
