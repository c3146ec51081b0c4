"""Free energies between force field and model: reduced potentials, BAR and MBAR against what is known exactly."""

import importlib.util
import math
from importlib.resources import files

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from matplotlib.figure import Figure

import openmm_nequip
from openmm_nequip import free_energy
from openmm_nequip.errors import OverlapError
from openmm_nequip.forces.live import forget_lists
from openmm_nequip.forces.pool import EvaluatorPool
from openmm_nequip.units import GAS_CONSTANT

DATA = files("openmm_nequip") / "data"
PLATFORM = openmm.Platform.getPlatformByName("Reference")
LAMBDA = "lambda_interpolate"
#: kJ/mol; energies are of the order of 1e5, and the model's are of single precision.
ENERGY = 1e-6
#: How many standard errors a result may be off; of a fixed seed.
SIGMAS = 3.0
#: kJ/mol: the free energy of the harmonic toy as a number.
EXACT = 1e-3
RT = GAS_CONSTANT * 300.0


@pytest.fixture(scope="module")
def peptide():
    """The shipped peptide between amber14 and the shipped model."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    mm = app.ForceField("amber14-all.xml").createSystem(pdb.topology)
    mixed = openmm_nequip.create_mixed_system(
        pdb.topology, mm, "all", str(DATA / "alanine-dipeptide.nequip.zip"), interpolate=True
    )
    return mixed.system, pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer)


def make_context(system, positions):
    context = openmm.Context(system, openmm.VerletIntegrator(0.0005), PLATFORM)
    context.setPositions(positions)
    return context


@pytest.fixture
def evaluations(monkeypatch):
    """A list that grows by one with each evaluation of a model."""
    counted, plain = [], EvaluatorPool.__call__

    def counting(self, positions, box):
        counted.append(len(positions))
        return plain(self, positions, box)

    monkeypatch.setattr(EvaluatorPool, "__call__", counting)
    return counted


def test_two_numbers_a_frame_give_every_state(peptide, evaluations):
    """Reduced potentials are those of a Context at each λ; the model is evaluated once a frame; no trace is left."""
    system, start = peptide
    context = make_context(system, start)
    context.setParameter(LAMBDA, 0.25)
    context.setVelocitiesToTemperature(300.0, 1)
    before = context.getState(positions=True, velocities=True, parameters=True)
    random = np.random.default_rng(1)
    frames = [start + 0.003 * random.normal(size=start.shape) for _ in range(3)]
    evaluations.clear()
    ends = free_energy.end_states(context, [frames[0], frames[1] * unit.nanometer, frames[2]])
    assert len(evaluations) == 3
    after = context.getState(positions=True, velocities=True, parameters=True)
    assert dict(after.getParameters()) == dict(before.getParameters())
    for of in ("getPositions", "getVelocities"):
        assert np.array_equal(getattr(after, of)(asNumpy=True), getattr(before, of)(asNumpy=True))
    lambdas, temperatures = [0.0, 0.3, 1.0], [300.0, 310.0 * unit.kelvin, 320.0]
    found = free_energy.reduced_potentials(ends, lambdas, temperatures)
    for row, (value, kelvin) in enumerate(zip(lambdas, (300.0, 310.0, 320.0), strict=True)):
        context.setParameter(LAMBDA, value)
        for column, frame in enumerate(frames):
            context.setPositions(frame)
            energy = context.getState(energy=True).getPotentialEnergy()._value
            assert found[row, column] * GAS_CONSTANT * kelvin == pytest.approx(energy, abs=ENERGY)


@pytest.mark.torchforce_stack
def test_the_same_frame_at_many_lambdas_is_one_evaluation(peptide, evaluations):
    """Whoever asks, as replica exchange does; a frame, a list or a box that is new is evaluated."""
    system, start = peptide
    context = make_context(system, start)
    evaluations.clear()
    energies = []
    for value in (1.0, 0.75, 0.5, 0.25, 0.0):
        context.setParameter(LAMBDA, value)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert len(evaluations) == 1
    assert np.abs(np.diff(energies, 2)).max() < ENERGY, "a straight line"
    moved = start.copy()
    moved[3, 0] += 1e-9
    context.setParameter(LAMBDA, 1.0)
    for points in (moved, start):
        context.setPositions(points)
        context.getState(energy=True)
    assert len(evaluations) == 3
    forget_lists()  # as at checkpoints, so that a restart gives the same bits
    context.setPositions(start)
    context.getState(energy=True)
    assert len(evaluations) == 4


def test_pressure_bias_and_temperature_enter():
    ends = free_energy.EndStates(np.array([1.0, 2.0]), np.array([5.0, 0.0]), np.array([8.0, 27.0]))
    bias = np.array([[0.0, 0.0], [10.0, 20.0]])
    found = free_energy.reduced_potentials(ends, [0, 0.5], 300 * unit.kelvin, 1000 * unit.bar, bias)
    # 1000 bar * 1 nm^3 = 1e8 Pa * 1e-27 m^3 * N_A = 60.2214 kJ/mol
    by_hand = np.array([[1.0, 2.0], [3.0 + 10.0, 1.0 + 20.0]]) + 60.2214076 * np.array([8.0, 27.0])
    assert found == pytest.approx(by_hand / RT, rel=1e-9)


def test_volumes_of_boxes(peptide):
    """Boxes of frames are set, and their volumes are those of the table."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    pdb.topology.setPeriodicBoxVectors(np.eye(3) * 3.0 * unit.nanometer)
    mm = app.ForceField("amber14-all.xml").createSystem(
        pdb.topology, nonbondedMethod=app.CutoffPeriodic, nonbondedCutoff=1.0
    )
    model = str(DATA / "alanine-dipeptide.nequip.zip")
    mixed = openmm_nequip.create_mixed_system(pdb.topology, mm, "all", model, interpolate=True)
    points = pdb.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    context = make_context(mixed.system, points)
    ends = free_energy.end_states(context, [points, points], [np.eye(3) * 3.0, np.eye(3) * 4.0 * unit.nanometer])
    assert ends.volumes == pytest.approx([27.0, 64.0])
    assert context.getState().getPeriodicBoxVolume()._value == pytest.approx(27.0)
    with pytest.raises(ValueError, match="1 boxes were given for 2 frames"):
        free_energy.end_states(context, [points, points], [np.eye(3)])


def harmonic(count, lambdas, seed=4, wide=100.0, stiff=400.0, height=7.0):
    """Independent samples between two harmonic wells in three dimensions; the exact free energies of the states.

    U(λ) = (1 - λ) wide/2 x² + λ (stiff/2 x² + height) is harmonic at every λ, with the partition function known.
    """
    random = np.random.default_rng(seed)
    points, exact = [], []
    for value in lambdas:
        strength = (1 - value) * wide + value * stiff
        points.append(random.normal(0.0, math.sqrt(RT / strength), (count, 3)))
        exact.append(1.5 * RT * math.log(strength / wide) + value * height)
    square = (np.concatenate(points) ** 2).sum(axis=1)
    ends = free_energy.EndStates(0.5 * wide * square, 0.5 * stiff * square + height, None)
    return free_energy.reduced_potentials(ends, lambdas, 300.0), exact


def test_a_harmonic_toy_within_its_error():
    """ΔA = 3/2 RT ln(k1/k0) + c = 12.1867 kJ/mol; MBAR and BAR, the prediction of a state nobody sampled as well."""
    lambdas = [0.0, 0.2, 0.5, 0.8, 1.0]
    reduced, exact = harmonic(4000, lambdas)
    assert exact[-1] == pytest.approx(7.0 + 1.5 * 2.494338785 * math.log(4.0), abs=EXACT)
    found = free_energy.estimate(reduced, [4000] * 5, lambdas, decorrelate=False)
    for k in range(1, 5):
        value, error = found.between(0, k, 300.0)
        assert abs(value - exact[k]) < SIGMAS * error
        assert 0.005 < error < 0.1
    value, error = found.by_bar(300 * unit.kelvin)
    assert abs(value - exact[-1]) < SIGMAS * error
    assert found.notes == ()
    assert found.overlap.sum(axis=1) == pytest.approx(1.0)
    assert (found.effective >= found.independent).all()
    kept = np.r_[0:4000, 16000:20000]
    predicted = free_energy.estimate(reduced[:, kept], [4000, 0, 0, 0, 4000], lambdas, decorrelate=False)
    for k in range(1, 5):
        value, error = predicted.between(0, k, 300.0)
        assert abs(value - exact[k]) < SIGMAS * error


@pytest.mark.slow
def test_the_stated_error_is_the_scatter():
    """The spread of repeated estimates is the error that each states, also where samples are correlated."""
    results = []
    for seed in range(25):
        reduced, exact = harmonic(300, [0.0, 0.5, 1.0], seed)
        # Each frame five times over: a correlation time of 2.5 frames that has to be noticed.
        found = free_energy.estimate(np.repeat(reduced, 5, axis=1), [1500] * 3)
        results.append((*found.between(0, -1, 300.0), exact[-1]))
    values, errors, exact = np.array(results).T
    assert (values - exact).std() == pytest.approx(errors.mean(), rel=0.4)
    assert abs((values - exact).mean()) < SIGMAS * errors.mean() / math.sqrt(len(values))


def two_wells(seed, count=3000, hop=0.01, height=3.0):
    """Two states that hop seldom between two wells, a fast vibration in each, and a third that nobody samples.

    The stiffness of the vibration tells the first two apart, and no energy between them knows the well. The third is
    the second but lies `height` RT higher in one of the wells. Reduced potentials (3, 2 count), the well of each frame
    (2 count,), and the exact free energy of the third less the first in RT.
    """
    random = np.random.default_rng(seed)
    wells = np.concatenate([np.cumsum(random.random(count) < hop) + random.integers(2) for _ in range(2)]) % 2
    x = np.concatenate([random.normal(0.0, 1.0, count), random.normal(0.0, math.sqrt(0.5), count)])
    reduced = np.array([0.5 * x**2, x**2, x**2 + height * wells])
    return reduced, wells, 0.5 * math.log(2.0) - math.log(0.5 * (1.0 + math.exp(-height)))


@pytest.mark.slow
def test_what_hops_seldom_is_in_the_error_once_it_is_given():
    """Stated errors are the scatter and cover the exact answer; without the slow coordinate they hardly ever do."""
    found = {"slow": [], "fast": []}
    for seed in range(30):
        reduced, wells, exact = two_wells(seed)
        for name, slow in (("slow", wells[None]), ("fast", None)):
            one = free_energy.estimate(reduced, [3000, 3000, 0], slow=slow)
            value, error = one.between(0, 2)
            found[name].append((value - exact, error))
        # The last estimate had no coordinate that hops: all frames but a few count as independent.
        assert one.independent[:2].min() > 1000
    off, errors = np.array(found["slow"]).T
    assert np.sqrt((errors**2).mean()) == pytest.approx(off.std(), rel=0.35)
    assert abs(off.mean()) < SIGMAS * off.std() / math.sqrt(len(off))
    assert (np.abs(off) < 2.0 * errors).mean() > 0.8, "few parts of a run: Student's distribution, not Gauss's"
    off, errors = np.array(found["fast"]).T
    assert (np.abs(off) < 2.0 * errors).mean() < 0.5


def test_slow_coordinates_count_what_a_run_is_worth():
    reduced, wells, _ = two_wells(1)
    found = free_energy.estimate(reduced, [3000, 3000, 0], ["a", "b", "c"], slow=np.array([wells, 0 * wells]))
    assert (found.independent[:2] < 150).all() and found.independent[2] == 0, "one for about a hundred frames"
    assert (found.independent[:2] > 5).all()
    assert "fewer than 50 independent samples" in found.notes[0]
    still = free_energy.estimate(reduced, [3000, 3000, 0], slow=np.ones((1, 6000)))
    assert (still.independent[:2] > 1000).all(), "what never changes says nothing"


def add_bias(system):
    """Hold the peptide near C7eq: what turns slowly would need longer runs."""
    bias = openmm.CustomTorsionForce("50*off^2; off=min(d, 2*pi-d); d=abs(theta-centre); pi=3.141592653589793")
    bias.addPerTorsionParameter("centre")
    bias.addTorsion(4, 6, 8, 10, [math.radians(-82)])
    bias.addTorsion(6, 8, 10, 16, [math.radians(70)])
    system.addForce(bias)
    return system


def sampled(system, positions, values, count, seed):
    """Frames of a System at each value of λ, where it has one, and a Context of it."""
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.001)
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, PLATFORM)
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=30)
    context.setVelocitiesToTemperature(300.0, seed)
    frames = []
    for value in values:
        if value is not None:
            context.setParameter(LAMBDA, value)
        integrator.step(1000)
        for _ in range(count):
            integrator.step(40)
            frames.append(context.getState(positions=True).getPositions(asNumpy=True))
    return frames, context


@pytest.mark.slow
def test_two_routes_to_the_model_agree():
    """amber14 to the model along λ, and by amber03: the same within the errors that are stated."""
    pdb, model = app.PDBFile(str(DATA / "alanine-dipeptide.pdb")), str(DATA / "alanine-dipeptide.nequip.zip")
    lambdas, count, legs, fields = [0.0, 0.5, 1.0], 150, {}, []
    for seed, name in enumerate(("amber14-all.xml", "amber03.xml"), 1):
        fields.append(app.ForceField(name).createSystem(pdb.topology))
        mixed = openmm_nequip.create_mixed_system(pdb.topology, fields[-1], "all", model, interpolate=True)
        frames, context = sampled(add_bias(mixed.system), pdb.positions, lambdas, count, seed)
        ends = free_energy.end_states(context, frames)
        reduced = free_energy.reduced_potentials(ends, lambdas, 300.0)
        legs[name] = free_energy.estimate(reduced, [count] * 3, lambdas)
    runs = [sampled(add_bias(system), pdb.positions, [None], 600, 7) for system in fields]
    energies = np.empty((2, 1200))
    for row, (_, context) in enumerate(runs):
        for column, frame in enumerate(runs[0][0] + runs[1][0]):
            context.setPositions(frame)
            energies[row, column] = context.getState(energy=True).getPotentialEnergy()._value
    between = free_energy.estimate(energies / RT, [600, 600], list(legs))
    (direct, own), (onward, other), (first, third) = (
        part.between(temperature=300.0) for part in (*legs.values(), between)
    )
    assert abs(direct - first - onward) < SIGMAS * math.hypot(own, other, third)
    assert 0.1 < own < 2.0


def test_states_that_share_nothing_are_named():
    reduced, _ = harmonic(200, [0.0, 0.001, 0.9, 1.0], wide=1e3, stiff=1e7)
    with pytest.raises(OverlapError, match="no overlap: the states 0.9, 1.0 share less than 3%") as caught:
        free_energy.estimate(reduced, [200] * 4, [0.0, 0.001, 0.9, 1.0])
    assert (caught.value.apart, caught.value.near) == (["0.9", "1.0"], ["0.0", "0.001"])


def test_few_samples_are_said():
    reduced, _ = harmonic(20, [0.0, 0.5, 1.0])
    found = free_energy.estimate(reduced, [20] * 3, [0.0, 0.5, 1.0], decorrelate=False)
    assert "fewer than 50 independent samples: 0.0 (20), 0.5 (20), 1.0 (20)" in found.notes[0]
    text = found.describe(300.0)
    assert "note: fewer than 50" in text and "kJ/mol" in text
    figure = Figure((9, 4), layout="constrained")
    free_energy.draw(figure, found, 300.0, "λ")
    assert figure.axes[0].get_ylabel() == "free energy from 0.0\nless the line between the ends, kJ/mol"
    value, error = found.between(temperature=300.0)
    assert figure.axes[0].get_title() == f"1.0: {value:.2f} ± {error:.2f} kJ/mol"
    curve = figure.axes[0].lines[0].get_ydata()
    assert abs(curve[0]) < 1e-9 and abs(curve[-1]) < 1e-9 and curve[1] > 0.3, "concave in λ, as every free energy"
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["0.0", "0.5", "1.0"]


TABLE = np.zeros((2, 40)) + np.arange(40) * 1e-3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: free_energy.reduced_potentials(e, [0, 1.5], 300), "λ = 1.5 lies outside 0"),
        (lambda e: free_energy.reduced_potentials(e, [-1e-9], 300), "lies outside 0"),
        (lambda e: free_energy.reduced_potentials(e, [float("nan")], 300), "λ = nan lies outside"),
        (lambda e: free_energy.reduced_potentials(e, [], 300), "a list of numbers from 0 to 1"),
        (lambda e: free_energy.reduced_potentials(e, [0, 1], [300, 310, 320]), "one for each of the 2"),
        (lambda e: free_energy.reduced_potentials(e, [0, 1], 0), "above 0 K"),
        (lambda e: free_energy.reduced_potentials(e, [0, 1], 300, 1.0), "frames without a box"),
        (lambda e: free_energy.reduced_potentials(e, [0, 1], 300, biases=np.zeros(2)), "a row for each state"),
        (lambda e: free_energy.estimate(np.zeros((2, 0)), [0, 0]), "not empty"),
        (lambda e: free_energy.estimate(np.zeros((0, 0)), []), "not empty"),
        (lambda e: free_energy.estimate(TABLE, [20, 10]), "add up to 30, and the table has 40"),
        (lambda e: free_energy.estimate(TABLE, [40]), "frames of each of the 2 states"),
        (lambda e: free_energy.estimate(TABLE, [40, 0]), "only one state was sampled"),
        (lambda e: free_energy.estimate(TABLE, [35, 5]), "the state 1 has 5 frames; give 10 or more"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], ["a"]), "1 names were given for 2 states"),
        (lambda e: free_energy.estimate(TABLE * np.nan, [20, 20]), "frame 0 has the reduced potential nan"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], slow=np.zeros(40)), "slow has the shape"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], slow=np.zeros((0, 40))), "slow has the shape"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], slow=np.zeros((1, 39))), "a value for each frame"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], slow=TABLE[:1] * np.nan), "nan in the slow coordinate 0"),
        (lambda e: free_energy.estimate(TABLE, [20, 20], None, False, np.ones((1, 40))), "decorrelate=False says"),
        (lambda e: free_energy.potential_of_mean_force([], np.zeros((0, 0)), np.arange(3.0), 300), "two or more"),
        (
            lambda e: free_energy.potential_of_mean_force([np.zeros(0)] * 2, np.zeros((2, 0)), np.arange(3.0), 300),
            "the window 0 has no samples",
        ),
        (
            lambda e: free_energy.potential_of_mean_force([np.zeros(5)] * 2, np.zeros((2, 5)), np.arange(3.0), 300),
            "the bias of all samples",
        ),
    ],
)
def test_words_for_tables_that_cannot_be(call, words):
    ends = free_energy.EndStates(np.zeros(2), np.ones(2), None)
    with pytest.raises(ValueError, match=words):
        call(ends)


def test_words_for_contexts_that_cannot_be(peptide):
    system, start = peptide
    context = make_context(system, start)
    with pytest.raises(ValueError, match="no global parameter 'mu'"):
        free_energy.end_states(context, [start], name="mu")
    with pytest.raises(ValueError, match=r"frame 1 has the shape \(21, 3\)"):
        free_energy.end_states(context, [start, start[1:]])
    with pytest.raises(ValueError, match="a System without a box"):
        free_energy.end_states(context, [start], [np.eye(3)])
    with pytest.raises(openmm.OpenMMException, match="frame|finite|same place|NaN"):
        free_energy.end_states(context, [start * np.nan])


def test_the_state_of_lambda_needs_openmmtools(monkeypatch):
    if importlib.util.find_spec("openmmtools"):
        from openmm_nequip.lambda_state import LambdaState

        with pytest.raises(ValueError, match="λ = 1.1 lies outside 0"):
            LambdaState(lambda_interpolate=1.1)
        return
    with pytest.raises(openmm_nequip.errors.UnavailableError, match=r"pip install 'openmm-nequip\[openmmtools\]'"):
        importlib.import_module("openmm_nequip.lambda_state")
