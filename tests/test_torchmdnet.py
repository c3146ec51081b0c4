"""TorchMD-Net checkpoints and ensembles: the numbers of TorchMD-Net itself, in every box, on every road."""

import copy
import json
import os
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import openmm
import openmm.unit as unit
import pytest
import torch
from openmmml import MLPotential
from test_mixed_standin import dipeptide, numerical_force, vacuum_system
from test_mixed_standin import evaluate as evaluate_system
from torchmdnet_files import KJ_PER_MOL_PER_EV, own, parameters, water, write
from toy import make_topology

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.errors import NeighborLimitError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.upstream.torchmdnet_models import installed, pair_finders

#: kJ/mol for each atom and kJ/mol/nm, float32; of an energy its last digits as well, which TorchMD-Net sums in float32:
#: random weights give totals of 20,000 kJ/mol and more.
ENERGY_TOLERANCE, FORCE_TOLERANCE, LAST_DIGITS = 1e-5, 5e-3, 4e-7
#: Repulsion at bond lengths is steep: 2e4 kJ/mol/nm, and TorchMD-Net's own positions have seven digits.
STEEP = 5e-4, 5e-2
#: kJ/mol and kJ/mol/nm, float64.
EXACT = 1e-6
UNITS = {"lengthUnit": "angstrom", "energyUnit": "eV"}
pytestmark = pytest.mark.slow
if installed() is None:
    if os.environ.get("OPENMM_NEQUIP_REQUIRE_TORCHMDNET") == "1":
        raise RuntimeError("OPENMM_NEQUIP_REQUIRE_TORCHMDNET=1, but torchmd-net is not installed")
    pytest.skip("needs torchmd-net, which is not installed here", allow_module_level=True)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints by name, made once."""
    folder, made = tmp_path_factory.mktemp("torchmdnet"), {}

    def get(name, **changes):
        key = name, repr(changes)
        if key not in made:
            made[key] = write(folder / f"{name}-{len(made)}.ckpt", name, **changes)
        return made[key]

    return get


def ours(path, numbers, positions, box=None, **how):
    """Everything that the package gives at positions and box in Å."""
    model = openmm_nequip.load_model(path, **how)
    evaluator = Evaluator(model, openmm_nequip.Units(), Placement(len(numbers), np.array(numbers)), box is not None, 0)
    return evaluator.evaluate(positions * 0.1, None if box is None else np.array(box) * 0.1)


def allowed(energy, n_atoms, each=ENERGY_TOLERANCE):
    """By how much two energies of float32 may differ, kJ/mol."""
    return each * n_atoms + LAST_DIGITS * abs(energy)


def same(out, expected, energy=ENERGY_TOLERANCE, forces=FORCE_TOLERANCE):
    assert abs(out["energy"] - expected[0]) <= allowed(expected[0], len(out["forces"]), energy)
    assert np.abs(out["forces"] - expected[1]).max() <= forces


@pytest.mark.parametrize("name", ["tensornet", "tensornet2", "repulsion", "et", "gn", "t", "atomref", "delta", "zbl"])
def test_every_architecture_gives_its_own_numbers(name, files):
    how = {"modelInputs": {"charge": 1}} if name == "tensornet2" else {}
    theirs = {"q": torch.tensor([1.0])} if how else {}
    tolerances = STEEP if name in ("zbl", "repulsion") else ()
    numbers, positions, box = water(27)
    same(ours(files(name), numbers, positions, box, **how), own(files(name), numbers, positions, box, **theirs),
         *tolerances)  # fmt: skip
    few = numbers[:6], positions[:6]
    same(ours(files(name), *few, **how), own(files(name), *few, **theirs), *tolerances)


def test_the_charge_counts(files):
    numbers, positions, _ = water(2)
    energies = [ours(files("tensornet2"), numbers, positions, modelInputs={"charge": q})["energy"] for q in (-1, 0, 1)]
    assert min(np.abs(np.diff(energies))) > 1e-4
    with pytest.raises(openmm_nequip.ModelInputError, match="needs the input charge"):
        openmm_nequip.load_model(files("tensornet2"))
    # One that was trained without charges may be given one: TorchMD-Net reads it all the same.
    neutral = ours(files("tensornet"), numbers, positions)["energy"]
    assert ours(files("tensornet"), numbers, positions, modelInputs={"charge": 0})["energy"] == neutral
    assert ours(files("tensornet"), numbers, positions, modelInputs={"charge": 1})["energy"] != neutral
    with pytest.raises(openmm_nequip.ModelInputError, match="has no input 'charge'; its inputs: none"):
        openmm_nequip.load_model(files("gn"), modelInputs={"charge": 1})


def test_a_coulomb_prior_takes_charges_of_atoms(files):
    numbers, positions, box = water(4)
    charges = [-0.8, 0.4, 0.4] * 4
    theirs = {"extra_args": {"partial_charges": torch.tensor(charges)}}
    out = ours(files("coulomb"), numbers, positions, modelInputs={"partial_charges": charges})
    same(out, own(files("coulomb"), numbers, positions, **theirs), *STEEP)  # large terms of both signs
    with pytest.raises(openmm_nequip.ModelInputError, match="has 3 values, and the model describes 12 atoms"):
        ours(files("coulomb"), numbers, positions, modelInputs={"partial_charges": charges[:3]})
    with pytest.raises(openmm_nequip.ModelFileError, match="with a periodic box: its Coulomb prior"):
        ours(files("coulomb"), numbers, positions, box, modelInputs={"partial_charges": 0.0})


def test_d2_is_periodic_here(files):
    """In open space as by TorchMD-Net, whose D2 is not given the box; in a box as among its images."""
    numbers, positions, box = water(4)
    same(ours(files("d2"), numbers, positions), own(files("d2"), numbers, positions))
    energy = ours(files("d2"), numbers, positions, box, maxNeighbors=1000)["energy"]
    nine = np.array([[i, j, k] for i in range(2) for j in range(2) for k in range(2)]) @ box
    whole = ours(files("d2"), numbers * 8, np.concatenate([positions + o for o in nine]), 2 * box, maxNeighbors=1000)
    assert abs(whole["energy"] / 8 - energy) < allowed(energy, len(numbers))


def test_delta_learning(files):
    numbers, positions, _ = water(2)
    rests = ours(files("delta"), numbers, positions)
    assert ours(files("delta"), numbers, positions, removeReferenceEnergy=True)["energy"] == rests["energy"]
    whole = ours(files("delta"), numbers, positions, removeReferenceEnergy=False)
    same(whole, own(files("delta"), numbers, positions, remove_ref_energy=False))
    weights = torch.load(files("delta"), weights_only=True)["state_dict"]["model.prior_model.0.atomref.weight"]
    references = float(weights[numbers].double().sum()) * KJ_PER_MOL_PER_EV
    assert abs(whole["energy"] - rests["energy"] - references) < 1e-3 * len(numbers)
    with pytest.raises(openmm_nequip.ModelFileError, match="removeReferenceEnergy=False is for TorchMD-Net"):
        openmm_nequip.load_model(os.path.join(os.path.dirname(__file__), "data/tiny-nequip.nequip.pth"),
                                 removeReferenceEnergy=False)  # fmt: skip


@pytest.mark.parametrize("name, edge", [("tensornet", 6.2), ("tensornet2", 3.9), ("et", 3.9), ("gn", 6.2)])
def test_narrow_boxes_give_the_energy_of_many_cells(name, edge, files):
    """Narrower than two cutoffs, where TorchMD-Net is silently wrong, and than one, where atoms see themselves."""
    how = {"modelInputs": {"charge": 0}} if name == "tensornet2" else {}
    numbers, positions, _ = water(2)
    box, n = np.eye(3) * edge, int(np.ceil(9.0 / edge))
    offsets = np.array(list(np.ndindex(n, n, n))) @ box
    energy, forces = own(
        files(name), numbers * n**3, np.concatenate([positions + each for each in offsets]), n * box,
        max_num_neighbors=500,
    )  # fmt: skip
    out = ours(files(name), numbers, positions, box, maxNeighbors=500, **how)
    assert abs(out["energy"] - energy / n**3) < allowed(energy / n**3, len(numbers))
    assert np.abs(out["forces"] - forces[: len(numbers)]).max() < FORCE_TOLERANCE


def test_any_orientation_of_the_box(files):
    numbers, positions, _ = water(8)
    box = np.array([[9.5, 0, 0], [3.0, 9.3, 0], [-2.0, 4.0, 9.4]])
    same(ours(files("gn"), numbers, positions, box), own(files("gn"), numbers, positions, box))
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    straight = ours(files("gn64"), numbers, positions, box)
    turned = ours(files("gn64"), numbers, positions @ turn.T, box @ turn.T)
    assert abs(turned["energy"] - straight["energy"]) < EXACT
    assert np.abs(turned["forces"] - straight["forces"] @ turn.T).max() < EXACT
    unreduced = box + np.array([[0, 0, 0], [9.5, 0, 0], [0, 0, 0]])
    assert abs(ours(files("gn64"), numbers, positions, unreduced)["energy"] - straight["energy"]) < EXACT


def test_forces_and_stress_are_derivatives(files):
    numbers, positions, _ = water(2)
    box = np.array([[5.0, 0, 0], [0.7, 4.8, 0], [-0.4, 0.5, 3.9]])  # narrower than the cutoff: several cells
    how = {"maxNeighbors": 500}
    out = ours(files("gn64"), numbers, positions, box, **how)

    def energy(points):
        return ours(files("gn64"), numbers, points, box, **how)["energy"]

    for atom in (0, 4):
        slope = 10 * numerical_force(energy, positions, atom, 1e-4)
        assert np.abs(out["forces"][atom] - slope).max() < 1e-3
    strain, step = np.array([[0.3, 0.1, 0], [0.1, -0.2, 0.4], [0, 0.4, 0.6]]), 1e-5
    ends = []
    for sign in (1, -1):
        frame = np.eye(3) + sign * step * strain
        ends.append(ours(files("gn64"), numbers, positions @ frame, box @ frame, **how)["energy"])
    bar = (ends[0] - ends[1]) / (2 * step) / (np.linalg.det(box) * 1e-3) * 16.6053906717
    assert abs((out["stress"] * strain).sum() - bar) < 1e-4 * abs(bar)


def test_one_atom_and_atoms_out_of_reach(files):
    for name in ("tensornet", "gn", "et"):
        one = ours(files(name), [8], np.zeros((1, 3)))
        far = ours(files(name), [8, 8], np.array([[0.0, 0, 0], [0, 0, 50.0]]))
        assert abs(far["energy"] - 2 * one["energy"]) < allowed(far["energy"], 2) and np.abs(far["forces"]).max() < 1e-6
        same(one, own(files(name), [8], np.zeros((1, 3))))


def test_too_many_neighbours_are_counted(files):
    numbers, positions, box = water(8)
    path = files("gn", max_num_neighbors=7)
    with pytest.raises(NeighborLimitError, match=r"room for max_num_neighbors = 7 for each; give maxNeighbors="):
        ours(path, numbers, positions, box)
    assert ours(path, numbers, positions, box, maxNeighbors=200)["energy"] == pytest.approx(
        ours(files("gn"), numbers, positions, box, maxNeighbors=300)["energy"], abs=1e-9
    )
    with pytest.raises(RuntimeError, match="max_num_pairs"):  # TorchMD-Net's own limit is the same
        own(path, numbers[:12], positions[:12])
    with pytest.raises(NeighborLimitError):
        ours(path, numbers[:12], positions[:12])


def test_the_coulomb_term_of_the_output(files):
    numbers, positions, box = water(27, 3.4)
    few = numbers[:9], positions[:9]
    same(ours(files("weighted-coulomb"), *few), own(files("weighted-coulomb"), *few))
    with pytest.raises(openmm_nequip.ModelFileError, match="has no Coulomb term"):
        openmm_nequip.load_model(files("gn"), coulombCutoff=1.2)
    with pytest.raises(openmm_nequip.ModelFileError, match="with a periodic box: its Coulomb term.*coulombCutoff="):
        ours(files("weighted-coulomb"), numbers, positions, box)
    out = ours(files("weighted-coulomb"), numbers, positions, box, coulombCutoff=0.5 * unit.nanometer)
    same(out, own(files("weighted-coulomb"), numbers, positions, box, coulomb_cutoff=5.0, coulomb_max_num_neighbors=99))


def test_ensembles(files, tmp_path, capsys, monkeypatch):
    members = [files("gn", seed=1), files("gn", seed=2), files("gn", seed=3)]
    numbers, positions, _ = water(2)
    bundle = str(tmp_path / "all.zip")
    with zipfile.ZipFile(bundle, "w") as archive:
        for number, path in enumerate(members):
            archive.write(path, f"member{number}.ckpt")
    energy, forces, spread, forces_spread = own(members, numbers, positions, return_std=True)
    for given in (members, bundle):
        out = ours(given, numbers, positions)
        same(out, (energy, forces))
        assert abs(out["energy_spread"] - spread) < 1e-3
        assert np.abs(out["forces_spread"] - np.linalg.norm(forces_spread, axis=1)).max() < FORCE_TOLERANCE
    # A System of a list carries its members: it does not need the cache, nor the files.
    topology = make_topology(["O", "H", "H"] * 2)
    system = MLPotential("nequip", modelPath=members, **UNITS).createSystem(topology)
    text = openmm.XmlSerializer.serialize(system)
    monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "empty"))
    found = evaluate_system(openmm_nequip.read_system(text), positions * 0.1)[0]
    assert abs(found - energy) < allowed(energy, 6)
    (tmp_path / "two.xyz").write_text(xyz(numbers, positions))
    assert main(["energy", bundle, str(tmp_path / "two.xyz"), "--units", "angstrom", "eV"]) == 0
    assert "kJ/mol of the energy; of the forces at most" in capsys.readouterr().out
    with pytest.raises(openmm_nequip.ModelFileError, match="is no ensemble: its members 0 and 1 differ in type_names"):
        openmm_nequip.load_model([members[0], files("gn", max_z=12)])


def xyz(numbers, positions):
    """A structure as text."""
    symbols = {1: "H", 8: "O"}
    lines = [f"{symbols[z]} {x:.9f} {y:.9f} {w:.9f}" for z, (x, y, w) in zip(numbers, positions, strict=True)]
    return f"{len(numbers)}\n\n" + "\n".join(lines) + "\n"


SCRIPT = """
import sys
import numpy as np, openmm, openmm_nequip
assert "torchmdnet" not in sys.modules and "warp" not in sys.modules
system = openmm_nequip.read_system(sys.argv[1])
assert "torchmdnet" not in sys.modules and "warp" not in sys.modules
context = openmm.Context(system, openmm.VerletIntegrator(1e-3), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(np.loadtxt(sys.argv[2]))
print(repr(context.getState(getEnergy=True).getPotentialEnergy()._value))
"""


def test_a_system_goes_into_a_fresh_process_that_prints_nothing_else(files, tmp_path):
    numbers, positions, _ = water(2)
    topology = make_topology(["O", "H", "H"] * 2)
    potential = MLPotential("nequip", modelPath=files("delta"), removeReferenceEnergy=False, **UNITS)
    system = potential.createSystem(topology)
    copied = evaluate_system(copy.deepcopy(system), positions * 0.1)[0]
    assert copied == evaluate_system(system, positions * 0.1)[0]
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    np.savetxt(tmp_path / "positions", positions * 0.1)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "system.xml"), str(tmp_path / "positions")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    energy = own(files("delta"), numbers, positions, remove_ref_energy=False)[0]
    assert abs(float(done.stdout) - energy) < allowed(energy, len(numbers))


def test_a_region_with_a_cut_bond_and_lambda(files):
    topology, positions = dipeptide()
    region = list(range(8, 14))
    potential = MLPotential("nequip", modelPath=files("gn64"), **UNITS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the region's charge is no whole number
        mixed = potential.createMixedSystem(topology, vacuum_system(), region, interpolate=True)

    def energy(points, value=1.0):
        return evaluate_system(mixed, points, {"lambda_interpolate": value})[0]

    _, forces = evaluate_system(mixed, positions, {"lambda_interpolate": 1.0})[:2]
    for atom in (6, 8, 9):  # the outer atom of a cut bond, and two of the region
        assert np.abs(numerical_force(energy, positions, atom) - forces[atom]).max() < 0.1
    ends = energy(positions, 0.0), energy(positions, 1.0)
    assert abs(energy(positions, 0.25) - (0.75 * ends[0] + 0.25 * ends[1])) < 1e-6


def test_a_run_at_constant_pressure_goes_on(files, tmp_path, capsys):
    """TOML, NPT, restart: the settings of the model travel; the water molecules move whole."""
    numbers, positions, box = water(27)
    (tmp_path / "water.xyz").write_text(xyz(numbers, positions))
    config = tmp_path / "run.toml"
    config.write_text(
        f"""model = "{files("delta")}"\nstructure = "water.xyz"\noutput = "out"\nensemble = "npt"\nsteps = 20
units = ["angstrom", "eV"]\nremove-reference-energy = false\nmax-neighbors = 300\nminimize = false\nreactive = true
box = {np.diag(box).tolist()}\nequilibrate = 0\ntimestep = 0.02\nreport-interval = 10\ncheckpoint-interval = 10
platform = "Reference"\nseed = 1\n"""
    )
    assert main(["run", "--config", str(config), "--quiet"]) in (0, 3)
    assert main(["run", "--restart", "--output", str(tmp_path / "out"), "--steps", "30", "--quiet"]) in (0, 3)
    log = (tmp_path / "out" / "log.csv").read_text().splitlines()
    column = next(i for i, name in enumerate(log[0].split(",")) if "Potential" in name or "potential" in name)
    whole = own(files("delta"), numbers, positions, box, remove_ref_energy=False)[0]
    assert len(log) == 4 and abs(float(log[1].split(",")[column]) - whole) < 0.02 * abs(whole)
    capsys.readouterr()


def test_what_cannot_be_rebuilt_is_named(tmp_path, files):
    def changed(**changes):
        data = torch.load(files("gn"), weights_only=True)
        data["hyper_parameters"] |= changes
        torch.save(data, tmp_path / "changed.ckpt")
        return str(tmp_path / "changed.ckpt")

    for changes, words in (
        ({"model": "tensornet9"}, "changed.ckpt: .*architecture 'tensornet9' is of a later release"),
        ({"num_layers": 2}, "changed.ckpt: TorchMD-Net .* cannot rebuild it: RuntimeError: .*Missing key"),
        ({"prior_model": [{"LearnableAtomref": {"max_z": 20}}]}, "TypeError: .*dataset"),
        ({"prior_model": [{"Morse": {}}]}, "Unknown prior model Morse"),
    ):
        with pytest.raises(openmm_nequip.ModelFileError, match=words):
            openmm_nequip.load_model(changed(**changes))


def test_loading_leaves_no_trace(files):
    """Weights are drawn and replaced while a model is rebuilt; random numbers go on as if nothing had been."""
    torch.manual_seed(7)
    first = torch.rand(3)
    torch.manual_seed(7)
    openmm_nequip.load_model(files("gn", seed=9))
    assert torch.equal(torch.rand(3), first) and torch.get_default_dtype() == torch.float32


def test_the_search_for_pairs_is_where_it_was(files):
    """What is borrowed: the class and attributes of TorchMD-Net's search, in each of its places."""
    from torchmdnet.models.model import load_model

    for name, count in (("tensornet", 1), ("zbl", 2), ("d2", 2), ("coulomb", 2)):
        assert len(list(pair_finders(load_model(files(name), derivative=False)))) == count, name
    assert parameters("zbl")["prior_args"]["max_num_neighbors"] == 50


@pytest.mark.torchforce_stack
def test_the_wrapper_of_the_documentation(files):
    """TorchMD-Net's documentation runs a scripted module; its 96.4916 kJ/mol is 6.5e-5 more than an eV has."""
    from torchmdnet.models.model import load_model

    class Wrapper(torch.nn.Module):
        def __init__(self, embeddings, checkpoint):
            super().__init__()
            self.embeddings = embeddings
            self.model = load_model(checkpoint, derivative=False)

        def forward(self, positions: torch.Tensor) -> torch.Tensor:
            positions = positions.to(torch.float32) * 10.0
            energy = self.model(z=self.embeddings, pos=positions)[0]
            return energy * 96.4916

    numbers, positions, _ = water(2)
    module = torch.jit.script(Wrapper(torch.tensor(numbers), files("gn")))
    points = torch.tensor(positions * 0.1, requires_grad=True)
    energy = module(points)
    forces = -torch.autograd.grad(energy.sum(), points)[0].numpy()
    topology = make_topology(["O", "H", "H"] * 2)
    potential = MLPotential("nequip", modelPath=files("gn"), lengthUnit="angstrom", energyScale=96.4916)
    found = {"PythonForce": evaluate_system(potential.createSystem(topology), positions * 0.1)[:2]}
    given = openmm_nequip.potential_from(module, "positions", units=("nm", "kJ/mol"))
    found["potential_from"] = evaluate_system(given.createSystem(topology), positions * 0.1)[:2]
    try:
        from openmmtorch import TorchForce
    except ImportError:
        TorchForce = None  # the other stack has it
    if TorchForce is not None:
        system = openmm.System()
        for _ in numbers:
            system.addParticle(1.0)
        system.addForce(TorchForce(module))
        found["TorchForce"] = evaluate_system(system, positions * 0.1)[:2]
    for mine in found.values():
        assert abs(mine[0] - energy.item()) < allowed(mine[0], len(numbers))
        assert np.abs(np.array(mine[1]) - forces).max() < FORCE_TOLERANCE
    right = MLPotential("nequip", modelPath=files("gn"), **UNITS).createSystem(topology)
    share = energy.item() / evaluate_system(right, positions * 0.1)[0] - 1
    assert abs(share - (96.4916 / KJ_PER_MOL_PER_EV - 1)) < 1e-6


def test_a_task_without_steps_takes_the_settings(files, tmp_path, capsys):
    numbers, positions, _ = water(2)
    (tmp_path / "two.xyz").write_text(xyz(numbers, positions))
    output = tmp_path / "out"
    arguments = [
        "run", "--task", "energy", "--model", files("delta"), "--structure", str(tmp_path / "two.xyz"), "--output",
        str(output), "--units", "angstrom", "eV", "--no-remove-reference-energy", "--quiet",
    ]  # fmt: skip
    assert main(arguments) == 0
    capsys.readouterr()
    found = json.loads((output / "summary.json").read_text())["energy_kj_per_mol"]
    expected = own(files("delta"), numbers, positions, remove_ref_energy=False)[0]
    assert abs(found - expected) < allowed(expected, len(numbers))
