"""Replayed steps without a GPU: the recorder is a tape of operations, everything else is what runs on a GPU."""

import contextlib
import inspect
import logging

import numpy as np
import openmm
import pytest
import torch
from conftest import BACKENDS, DATA
from openmmml import MLPotential
from static import BUILT, CUTOFF, RunRecorder, Tape, TapeRecorder, build, structure
from toy import evaluate, lattice, make_topology, write_toy

from openmm_nequip import load_model
from openmm_nequip.evaluate import cuda_graphs
from openmm_nequip.evaluate.cuda_graphs import (
    AUTO_ATOMS,
    CudaGraphError,
    GraphedModel,
    check_potential,
    describe_graphs,
    with_graphs,
)
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.evaluate.recording import WAITING, CudaRecorder, waiting_operators
from openmm_nequip.forces import torch_force
from openmm_nequip.graph.geometry import edge_vectors
from openmm_nequip.graph.graph import Graph
from openmm_nequip.graph.neighbors import CandidateList, NeighborList
from openmm_nequip.graph.padding import PAD_DISTANCE, PaddedNeighborList, is_near, padding_shift, take_near
from openmm_nequip.models.edge_vectors import gradients_on, potential_of
from openmm_nequip.potential import NequIPPotentialImpl
from openmm_nequip.units import Units

pytestmark = pytest.mark.torchforce_stack

#: Model energy and force units, kJ/mol and kJ/mol/nm: two orders of summation in float64.
ROUNDING = 1e-11
ENERGY = 1e-8
FORCE = 1e-8
#: Steps of the trajectories with and without constant shapes, and how far they may be apart at the end: two runs that
#: differ in the last bit are that far apart (nm; chaos multiplies 1e-16 by some powers of ten over these steps).
STEPS = 500
APART = 1e-9
ALL_TYPES = np.arange(27) % 4


@pytest.fixture(scope="module")
def any_model(packages):
    """Models by name, made once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = build(name)
        return made[name]

    return get


class Walk:
    """Positions that wander, with lists for a bare and a graphed model."""

    def __init__(self, model, recorder, periodic, seed=0, n=3):
        self.model, self.periodic = model, periodic
        self.graphed = GraphedModel(model, recorder)
        self.positions, self.cell = structure(periodic, n=n)
        self.types = np.arange(len(self.positions)) % 4
        self.candidates = PaddedNeighborList(CandidateList(CUTOFF, 0.8, periodic), PAD_DISTANCE * CUTOFF)
        self.bare = NeighborList(CUTOFF, 0.0, periodic, self.types, model.info.per_edge_type_cutoff)
        self.rng = np.random.default_rng(seed)
        self._tensors = {}

    def compare(self):
        """Largest difference of any result from the model's own."""
        position, cell = torch.from_numpy(self.positions), torch.from_numpy(self.cell)
        types = self._tensors.setdefault("types", torch.from_numpy(self.types))
        found = self.candidates(self.positions, self.cell)
        out = self.graphed.evaluate(Graph(position, types, found, cell)).as_dict()
        expected = self.model(position, types, *self.bare(self.positions, self.cell).tensors(), cell)
        assert set(out) == set(expected)
        return max(float((out[key] - expected[key]).abs().max()) for key in expected)

    def move(self, size):
        self.positions = self.positions + self.rng.normal(0, size, self.positions.shape)


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", BUILT)
def test_replay_gives_what_the_model_gives(any_model, name, periodic):
    """One recording serves a trajectory whose edges come and go, with the addresses of its inputs never changing."""
    recorder = TapeRecorder()
    walk = Walk(any_model(name), recorder, periodic)
    counts, addresses = set(), set()
    for step in range(6):
        assert walk.compare() < ROUNDING, f"step {step}"
        addresses.add(tuple(tensor.data_ptr() for tensor in walk.graphed.buffers()))
        counts.add(walk.graphed.statistics()["edges"])
        walk.move(0.04)
    assert len(counts) > 1, "the number of edges changed under the same recording"
    assert len(addresses) == 1 and recorder.recordings == 1 and recorder.replays == recorder.waits == 6
    report = walk.graphed.statistics()
    assert report["graphs"] and report["captures"] == 1 and report["replays"] == 6 and report["reason"] == ""
    assert report["edges"] <= report["capacity"] <= report["candidates"]


@pytest.mark.parametrize(
    "name",
    [
        "scripted nequip",
        "scripted allegro",
        "toy",
        *[pytest.param(f"compiled {family}", marks=pytest.mark.slow) for family in ("nequip", "allegro")],
    ],
)
def test_every_kind_of_file(name, tmp_path):
    """TorchScript through a tape; compiled packages, whose operations no tape sees, by calling them again."""
    kind, _, family = name.partition(" ")
    if kind == "toy":
        model = load_model(write_toy(tmp_path / "toy.nequip.pth", 0.9 / CUTOFF, types="H C N O"))
    elif kind == "scripted":
        model = load_model(DATA / f"tiny-{family}.nequip.pth", kernels="none")
    else:
        model = load_model(DATA / f"tiny-{family}.nequip.zip", kernels="none")
    recorder = RunRecorder() if kind == "compiled" else TapeRecorder()
    walk = Walk(model, recorder, True)
    for _ in range(6):
        assert walk.compare() < ROUNDING
        walk.move(0.02)
    assert recorder.recordings == 1 and recorder.replays == 6


def test_more_edges_than_room_are_recorded_anew_and_none_is_lost(any_model):
    """The structure is compressed until both buffers overflow, and blown up until they shrink."""
    recorder = TapeRecorder()
    walk = Walk(any_model("nequip"), recorder, True)
    seen = []
    for scale in (1.0, 0.97, 0.9, 0.85, 1.0, 1.35, 1.0):
        original = walk.positions, walk.cell
        walk.positions, walk.cell = walk.positions * scale, walk.cell * scale
        assert walk.compare() < ROUNDING
        seen.append(walk.graphed.statistics())
        assert (
            seen[-1]["edges"] <= seen[-1]["capacity"]
            and seen[-1]["edges"] == walk.bare(walk.positions, walk.cell).count
        )
        walk.positions, walk.cell = original
    capacities = [report["capacity"] for report in seen]
    assert capacities[3] > capacities[0] and capacities[5] < capacities[3]
    assert seen[-1]["captures"] == recorder.recordings > 3


def test_overflow_within_the_candidates_repeats_the_step(any_model):
    """No new candidates, but more edges within the cutoff: the step is done again with more room."""
    recorder = TapeRecorder()
    model = any_model("nequip")
    graphed = GraphedModel(model, recorder)
    positions, cell = structure(True)
    wide = PaddedNeighborList(NeighborList(1.5 * CUTOFF, 0.0, True), PAD_DISTANCE * CUTOFF)(positions * 1.3, cell * 1.3)
    edges = list(wide)
    types = torch.from_numpy(ALL_TYPES)
    for scale, recordings in ((1.3, 1), (1.05, 2)):
        given = torch.from_numpy(positions * scale), types, *edges, torch.from_numpy(cell * scale)
        out = graphed(*given)
        near = [torch.from_numpy(array) for array in NeighborList(CUTOFF, 0.0, True)(positions * scale, cell * scale)]
        expected = model(*given[:2], *near, given[-1])
        assert (out["forces"] - expected["forces"]).abs().max() < ROUNDING
        assert recorder.recordings == recordings
    assert recorder.replays == 3, "the step that overflowed, and its repetition"


def test_results_of_earlier_steps_are_not_overwritten(any_model):
    walk = Walk(any_model("allegro"), TapeRecorder(), True)
    walk.compare()
    edges = list(walk.candidates(walk.positions, walk.cell))
    given = torch.from_numpy(walk.types), *edges, torch.from_numpy(walk.cell)
    first = walk.graphed(torch.from_numpy(walk.positions), *given)
    before = {key: value.clone() for key, value in first.items()}
    walk.graphed(torch.from_numpy(walk.positions + walk.rng.normal(0, 0.05, (27, 3))), *given)
    assert all(torch.equal(first[key], before[key]) for key in before)


@pytest.mark.parametrize("name", BUILT)
def test_a_step_neither_waits_nor_depends_on_data(any_model, name):
    """On the meta device nothing has a value: waiting for one, or making a tensor elsewhere, is an error."""
    model = any_model(name)
    n, candidates, room = 27, 1152, 640

    def empty(*shape, dtype=torch.float64):
        return torch.empty(shape, dtype=dtype, device="meta")

    whole = torch.int64
    positions, cell, types = empty(n, 3), empty(3, 3), empty(n, dtype=whole)
    edges, shifts = empty(2, candidates, dtype=whole), empty(candidates, 3)
    state = [*model.module.named_parameters(), *model.module.named_buffers()]
    state = {key: torch.empty_like(value, device="meta") for key, value in state}
    near = is_near(edge_vectors(positions, edges, shifts, cell), types, edges, empty(4, 4))
    found, rows, needed = take_near(near, edges, shifts, padding_shift(cell, 8.0), n, room)
    with gradients_on(), Tape() as tape:
        data = {
            "pos": positions, "atom_types": types, "edge_index": found,
            "edge_vectors": edge_vectors(positions, found, rows, cell),
        }  # fmt: skip
        out = torch.func.functional_call(model.module, state, (data,))
    assert out["edge_forces"].shape == (room, 3) and out["edge_forces"].device == needed.device == positions.device
    assert not [operator for operator in tape.names if operator.startswith(WAITING)]


def test_nequips_own_way_to_forces_cannot_be_recorded(any_model):
    """Why edge vectors are used: the way by strain takes the determinant of the cell, for which cuSOLVER waits."""
    model = any_model("nequip")
    positions, cell = structure(True)
    edges = [torch.from_numpy(array) for array in NeighborList(CUTOFF, 0.0, True)(positions, cell)]
    with Tape() as tape:
        model(torch.from_numpy(positions), torch.from_numpy(ALL_TYPES), *edges, torch.from_numpy(cell))
    assert [operator for operator in tape.names if operator.startswith(WAITING)]


def test_a_model_that_does_not_end_at_its_cutoff_is_refused(any_model):
    model = any_model("nequip")

    def leaky(graph):
        out = model.evaluate(graph)
        out.energy = out.energy + 1e-6 * graph.edges.count
        return out

    check_potential(potential_of(model), model.info, model.device)
    with pytest.raises(CudaGraphError, match="edges beyond the cutoff change the model's result.*; use cudaGraphs=F"):
        check_potential(leaky, model.info, model.device)


def test_packages_that_compute_stress_are_refused(compiled):
    """nequip-compile's target `ase` calls cuSOLVER for the determinant of the cell, which no graph can record."""
    model = load_model(compiled / "tiny-nequip.nequip.pt2")
    with pytest.raises(CudaGraphError, match="cannot be recorded in a CUDA graph: it uses _linalg_det; .*`--target op"):
        GraphedModel(model, RunRecorder())
    GraphedModel(load_model(compiled / "tiny-allegro.nequip.pt2"), RunRecorder())
    ours = load_model(DATA / "tiny-nequip.nequip.zip", kernels="none")
    walk = Walk(ours, RunRecorder(), True)
    walk.compare()
    assert waiting_operators(walk.graphed.step) == []


def test_what_cannot_be_recorded_runs_without_and_says_so(any_model, caplog):
    recorder = TapeRecorder(broken="operation not permitted when stream is capturing\nmore")
    walk = Walk(any_model("nequip, ZBL"), recorder, True)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert walk.compare() < ROUNDING
            walk.move(0.05)
    report = walk.graphed.statistics()
    assert not report["graphs"] and report["captures"] == 0 and report["replays"] == 4
    assert report["reason"] == "operation not permitted when stream is capturing"
    assert len([record for record in caplog.records if "CUDA graphs: off, the model cannot be" in record.message]) == 1
    needed = GraphedModel(walk.model, TapeRecorder(broken="no"), required=True)
    walk.graphed = needed
    with pytest.raises(CudaGraphError, match="cannot be recorded in a CUDA graph: no; a .nequip.pt2 file must be comp"):
        walk.compare()


def test_what_is_recorded_is_logged(any_model, caplog):
    with caplog.at_level(logging.INFO):
        Walk(any_model("nequip"), TapeRecorder(), True).compare()
    assert [record.message for record in caplog.records if record.name == cuda_graphs.__name__] == [
        "CUDA graphs: on, recording 1, room for 768 edges of 1152 candidates"
    ]


class OnCuda:
    """A model that says it is on a GPU, for decisions that look no further."""

    unrecordable = ""
    device = torch.device("cuda:0")


def test_the_choice(any_model, monkeypatch):
    model = any_model("nequip")
    assert with_graphs(model, "auto", 100) is model and with_graphs(model, False, 100) is model
    with pytest.raises(CudaGraphError, match="cudaGraphs=True, but the model runs on the device 'cpu': only CUDA dev"):
        with_graphs(model, True, 100)
    for bad in ("on", 1, None):
        with pytest.raises(ValueError, match="cudaGraphs=.* is unknown; use 'auto', True or False"):
            with_graphs(model, bad, 100)
    made = []
    monkeypatch.setattr(cuda_graphs, "CudaRecorder", lambda device: "recorder")
    monkeypatch.setattr(cuda_graphs, "GraphedModel", lambda *a, **k: made.append((a, k)) or "graphed")
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    there = OnCuda()
    assert with_graphs(there, "auto", AUTO_ATOMS) == "graphed" and with_graphs(there, True, 10**6) == "graphed"
    assert [keywords["required"] for _, keywords in made] == [False, True]
    assert with_graphs(there, "auto", AUTO_ATOMS + 1) is there and with_graphs(there, False, 10) is there

    def refuse(*arguments, **keywords):
        raise CudaGraphError("its interactions do not end")

    monkeypatch.setattr(cuda_graphs, "GraphedModel", refuse)
    assert with_graphs(there, "auto", 10) is there
    with pytest.raises(CudaGraphError, match="do not end"):
        with_graphs(there, True, 10)


def test_info_says_whether_there_would_be_graphs(any_model, monkeypatch):
    model = any_model("nequip")
    assert describe_graphs(model) == "off: the device is cpu, and only CUDA devices have them"
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.no_grad())
    monkeypatch.setattr(cuda_graphs, "potential_of", lambda model: "potential")
    there, checks = OnCuda(), []
    there.info = model.info
    monkeypatch.setattr(cuda_graphs, "check_potential", lambda *arguments: checks.append(arguments))
    assert describe_graphs(there) == f"on for up to {AUTO_ATOMS} atoms; cudaGraphs=True for more" and len(checks) == 1

    def refuse(*arguments):
        raise CudaGraphError("edges beyond the cutoff change the result\nof a.pth")

    monkeypatch.setattr(cuda_graphs, "check_potential", refuse)
    assert describe_graphs(there) == "off: edges beyond the cutoff change the result"


class FakeStream:
    """A CUDA stream that writes down what is asked of it."""

    def __init__(self, log):
        self.log = log

    def wait_stream(self, other):
        self.log.append("wait")

    def synchronize(self):
        self.log.append("synchronize")


class FakeGraph:
    """A CUDA graph whose memory is the result of the last operation of a tape."""

    def replay(self):
        self.tape.alive[-1].copy_(self.tape.run()[-1])


def test_the_calls_to_cuda(any_model, monkeypatch):
    """All that only a GPU can do, replaced by stand-ins that take the arguments the installed torch takes."""
    log, taken = [], inspect.signature(torch.cuda.graph)

    @contextlib.contextmanager
    def graph(*arguments, **keywords):
        bound = taken.bind(*arguments, **keywords).arguments
        assert bound["capture_error_mode"] == "thread_local" and isinstance(bound["stream"], FakeStream)
        log.append("record")
        with Tape() as bound["cuda_graph"].tape:
            yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(log))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream(log))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("synchronize all"))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(CudaRecorder, "buffer", lambda self, size: torch.zeros(size, dtype=torch.float64))
    walk = Walk(any_model("allegro"), CudaRecorder(torch.device("cuda:0")), True)
    for _ in range(3):
        assert walk.compare() < ROUNDING
        walk.move(0.03)
    assert log == ["wait", "wait", "synchronize all", "record", "synchronize", "synchronize", "synchronize"]


LAYOUTS = {
    "all": Placement(27, ALL_TYPES),
    "some": Placement(27, np.array([0, 1, 2, 3, 3, 1]), np.array([20, 3, 4, 5, 9, 1])),
    "caps": Placement(
        27, np.array([0, 1, 2, 3, 0, 0]), np.array([0, 1, 2, 4]), np.array([2, 4]), np.array([11, 7]),
        np.array([0.1, 0.12]),
    ),
    "regions": Placement(
        27, np.arange(14) % 4, np.arange(5, 19), regions=(np.array([0, 2, 4, 6, 8, 9]), np.array([1, 3, 5, 7, 10, 13]))
    ),
    "one atom": Placement(27, np.array([2]), np.array([4])),
}  # fmt: skip


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_through_the_evaluator(any_model, name, periodic):
    """Subsets, link caps and regions: the same energies, forces and stress, with one recording."""
    model = any_model("nequip, ZBL, cutoffs by type")
    positions, box = (array * 0.1 for array in structure(True))
    recorder = TapeRecorder()
    plain = Evaluator(model, Units(), LAYOUTS[name], periodic, 0.08)
    graphed = Evaluator(GraphedModel(model, recorder), Units(), LAYOUTS[name], periodic, 0.08)
    rng = np.random.default_rng(3)
    for _ in range(8):
        given = positions, box if periodic else None
        expected, found = plain(*given), graphed(*given)
        assert found[0] == pytest.approx(expected[0], abs=ENERGY) and found[1].shape == (27, 3)
        assert np.abs(found[1] - expected[1]).max() < FORCE
        full, own = plain.evaluate(*given), graphed.evaluate(*given)
        assert set(full) == set(own)
        assert np.abs(own["atomic_energies"] - full["atomic_energies"]).max() < ENERGY
        assert "stress" not in full or np.abs(own["stress"] - full["stress"]).max() < 1e-6
        positions = positions + rng.normal(0, 0.001, positions.shape)
    assert recorder.recordings == 1 and recorder.replays == 16


def trajectory(evaluator, positions, box, steps=STEPS):
    """Velocity Verlet of argon-like masses: positions (nm) at the end, and the drift of the energy (kJ/mol)."""
    mass, dt = 40.0, 0.002
    velocities = np.random.default_rng(2).normal(0, 0.25, positions.shape)
    energy, forces = evaluator(positions, box)
    start = energy + 0.5 * mass * (velocities**2).sum()
    for _ in range(steps):
        velocities = velocities + 0.5 * dt / mass * forces
        positions = positions + dt * velocities
        energy, forces = evaluator(positions, box)
        velocities = velocities + 0.5 * dt / mass * forces
    return positions, abs(energy + 0.5 * mass * (velocities**2).sum() - start)


@pytest.mark.slow
def test_trajectories_agree_as_two_runs_do(tmp_path):
    """With and without constant shapes, and once more with the last bit of one coordinate changed."""
    positions, box = lattice(4, 0.38, 0.01)
    model = load_model(write_toy(tmp_path / "toy.nequip.pth"))
    layout = Placement(64, np.full(64, 4))
    recorder = TapeRecorder()
    graphed = GraphedModel(model, recorder)
    plain, drift = trajectory(Evaluator(model, Units(), layout, True, 0.05), positions, box)
    found, own = trajectory(Evaluator(graphed, Units(), layout, True, 0.05), positions, box)
    nudged = positions.copy()
    nudged[5, 1] = np.nextafter(nudged[5, 1], 1.0)
    twin, _ = trajectory(Evaluator(model, Units(), layout, True, 0.05), nudged, box)
    assert np.abs(plain - positions).max() > 0.05, "it moved"
    assert np.abs(found - plain).max() < max(APART, 10 * np.abs(twin - plain).max())
    assert own == pytest.approx(drift, abs=1e-6)
    report = graphed.statistics()
    assert report["captures"] == recorder.recordings <= 5 and report["replays"] >= STEPS + 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cudaGraphs": "yes"}, ValueError, "cudaGraphs='yes' is unknown; use 'auto', True or False"),
        ({"cudaGraphs": True, "device": "cpu"}, CudaGraphError, "cudaGraphs=True, but the model runs on the device 'c"),
    ],
)
def test_bad_options(options, error, message):
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"))
    with pytest.raises(error, match=message):
        potential.createSystem(make_topology(["H", "C"]), **options)


def test_the_option_reaches_the_force():
    """Off changes nothing; on, a Context without a GPU ends with the reason."""
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"), backend="PythonForce")
    topology = make_topology(["H", "C", "O"])
    positions = np.array([[0.0, 0, 0], [0.11, 0, 0], [0, 0.12, 0]])
    expected = evaluate(potential.createSystem(topology), positions)
    found = evaluate(potential.createSystem(topology, cudaGraphs=False), positions)
    assert found[0] == expected[0] and np.array_equal(found[1], expected[1])
    with pytest.raises(openmm.OpenMMException, match="CudaGraphError: cudaGraphs=True, but the model runs on the devi"):
        evaluate(potential.createSystem(topology, cudaGraphs=True), positions)


def scripted(name, layout, periodic, static, path=None):
    """The module of a TorchForce and the evaluator of the same potential."""
    impl = NequIPPotentialImpl("nequip", str(path or DATA / f"tiny-{name}.nequip.pth"))
    spec = impl.spec(impl.options({}), layout, periodic)
    model = load_model(spec.source.path, kernels="none")  # the script itself
    return torch_force.script(model, spec, static), Evaluator(model, spec.units, layout, periodic, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nequip", "allegro"])
@pytest.mark.parametrize(("n", "periodic"), [(3, False), (4, True)])
def test_scripted_modules_with_constant_shapes(name, n, periodic):
    """What TorchForce records: all pairs, or those within the cutoff in a buffer of constant size; also frozen."""
    positions, box = lattice(n, 0.22, 0.012)
    if periodic:
        box[1, 0], box[2, 1], box[2, 0] = 0.2, -0.3, 0.11
    module, evaluator = scripted(name, Placement(n**3, np.arange(n**3) % 4), periodic, True)
    frozen = torch.jit.freeze(module)
    rng = np.random.default_rng(1)
    for step in range(3):
        positions = (
            positions
            + rng.normal(0, 0.004, positions.shape)
            + rng.integers(-1, 2, positions.shape) @ (box if periodic else np.zeros((3, 3)))
        )
        expected = evaluator(positions, box if periodic else None)
        given = [torch.from_numpy(positions)] + ([torch.from_numpy(box)] if periodic else [])
        for form in (frozen,) if step else (module, frozen):
            energy, forces = form(*given)
            assert float(energy.detach()) == pytest.approx(expected[0], abs=ENERGY * n**3)
            assert np.abs(forces.detach().numpy() - expected[1]).max() < 1e-6
            assert forces.is_contiguous() and forces.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("name", ["some", "caps"])
def test_scripted_modules_with_constant_shapes_on_layouts(name):
    positions, box = (array * 0.1 for array in structure(True, n=4))
    module, evaluator = scripted("nequip", LAYOUTS[name], True, True)
    box = box * 1.01
    energy, forces = module(torch.from_numpy(positions[:27]), torch.from_numpy(box))
    expected = evaluator(positions[:27], box)
    assert float(energy) == pytest.approx(expected[0], abs=ENERGY) and np.abs(forces.numpy() - expected[1]).max() < 1e-6


@pytest.mark.slow
def test_scripted_modules_with_constant_shapes_say_when_they_cannot(monkeypatch):
    """A box narrower than two cutoffs, and more pairs than there is room for: NaN, at which OpenMM stops."""
    positions, box = (torch.from_numpy(array) for array in lattice(4, 0.22, 0.012))
    layout = Placement(64, np.arange(64) % 4)
    module, _ = scripted("nequip", layout, True, True)
    assert module(positions, box)[1].isfinite().all()
    energy, forces = module(positions, box * torch.tensor([1.0, 1.0, 0.9]))
    assert energy.isnan() and forces.isnan().all()
    monkeypatch.setattr(torch_force, "STATIC_ATOMS_PER_NM3", 60.0)
    module, _ = scripted("nequip", layout, True, True)
    assert module.capacity < 64 * 63
    energy, forces = module(positions, box)
    assert energy.isnan() and forces.isnan().all()
    assert module(positions * 1.5, box * 1.5)[1].isfinite().all(), "and where there is room, a result again"


@pytest.mark.slow
def test_a_scripted_step_neither_waits_nor_depends_on_data():
    positions, box = (torch.from_numpy(array) for array in lattice(4, 0.22, 0.012))
    names = {}
    for static in (True, False):
        if not static:
            pytest.importorskip("vesin_torch")
        # The plugin freezes the module; the ZBL term of an unfrozen one reads a constant from the device.
        module = torch.jit.freeze(scripted("allegro", Placement(64, np.arange(64) % 4), True, static)[0])
        for _ in range(5):  # the first runs, in which TorchScript still optimises, are before the recording
            with Tape() as tape:
                module(positions, box)
        names[static] = [name for name in tape.names if name.startswith(WAITING)]
    assert names[True] == [] and names[False], "the module with a neighbour list does wait"


def test_scripted_modules_that_cannot_be_recorded_are_refused(tmp_path):
    toy = write_toy(tmp_path / "toy.nequip.pth")
    with pytest.raises(ValueError, match="needs a model that takes edge vectors, and .*toy.nequip.pth does not"):
        scripted("", Placement(27, np.full(27, 4)), True, True, toy)
    for count in (1, torch_force.STATIC_ATOMS + 1):
        with pytest.raises(ValueError, match=f"is for 2 to 1000 atoms, because it looks at all pairs, .* has {count};"):
            scripted("nequip", Placement(count, np.zeros(count, dtype=np.int64)), False, True)


@pytest.mark.slow
def test_torch_force_with_cuda_graphs():
    """The plugin takes the module with constant shapes; on a CPU it runs it without recording."""
    if "TorchForce" not in BACKENDS:
        pytest.skip("no working openmmtorch in this environment; the other stack runs this")
    import openmmtorch

    positions, box = lattice(4, 0.22, 0.012)
    topology = make_topology(["H", "C", "N", "O"] * 16, box)
    potential = MLPotential("nequip", modelPath=str(DATA / "tiny-nequip.nequip.pth"), backend="TorchForce")
    expected = evaluate(potential.createSystem(topology), positions)
    for options in ({"properties": {"useCUDAGraphs": "true"}}, {"cudaGraphs": True}):
        system = potential.createSystem(topology, **options)
        assert openmmtorch.TorchForce.cast(system.getForce(0)).getProperties()["useCUDAGraphs"] == "true"
        found = evaluate(system, positions)
        assert found[0] == pytest.approx(expected[0], abs=ENERGY * 64)
        assert np.abs(found[1] - expected[1]).max() < 1e-6


@pytest.mark.gpu
def test_a_graph_on_a_gpu():
    """Fails where there is no CUDA device: run with -m gpu on a machine that has one."""
    assert torch.cuda.is_available(), "this test was asked for, but torch sees no CUDA device"
    positions, box = lattice(4, 0.22, 0.012)
    layout = Placement(64, np.arange(64) % 4)
    reference = Evaluator(load_model(DATA / "tiny-nequip.nequip.zip", compile=False), Units(), layout, True, 0.05)
    for file, keywords in (
        ("tiny-nequip.nequip.zip", {"compile": False}),
        ("tiny-nequip.nequip.pth", {}),
        ("tiny-nequip.nequip.zip", {"compile": True}),
    ):
        model = with_graphs(load_model(DATA / file, "cuda", **keywords), True, 64)
        evaluator = Evaluator(model, Units(), layout, True, 0.05)
        points, rng = positions.copy(), np.random.default_rng(0)
        for _ in range(50):
            expected, found = reference(points, box), evaluator(points, box)
            assert found[0] == pytest.approx(expected[0], abs=1e-6)
            assert np.abs(found[1] - expected[1]).max() < 1e-5
            points = points + rng.normal(0, 0.0005, points.shape)
        report = model.statistics()
        assert report["graphs"] and report["captures"] <= 3, report
