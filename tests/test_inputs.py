"""What a model takes beside the structure, such as a charge: on every road, and clear words without it."""

import copy

import ase.io
import numpy as np
import openmm
import pytest
import torch
from conftest import DATA
from openmmml import MLPotential
from test_ages import ENERGY, FAULTS, energy_and_forces, shared
from toy import CUTOFF_NM, LennardJones, make_topology

from openmm_nequip import ModelInputError, create_mixed_system, load_model
from openmm_nequip.app.cli import main
from openmm_nequip.graph.fields import CELL, EDGE_INDEX, INPUT_FIELDS, POSITIONS, SHIFTS, TYPES
from openmm_nequip.models import Execution, locate, read_info
from openmm_nequip.models.base import ModelInfo
from openmm_nequip.models.formats.aotinductor import AOTInductorModel
from openmm_nequip.models.graph_inputs import GraphInput, check_inputs, inputs_of_fields, parse_inputs
from openmm_nequip.units import KJ_PER_MOL_PER_EV

CHARGE = FAULTS / "charge.nequip.zip"
METHANE = FAULTS / "methane.xyz"
#: eV, of nequip's own evaluation.
RIGHT = {0: -6.8282132301, 1: -6.5949029666, -1: -6.8213374592}


def methane():
    frame = ase.io.read(METHANE)
    return frame, make_topology(frame.get_chemical_symbols())


def energy_of(system, frame):
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(frame.positions / 10)
    return context.getState(getEnergy=True).getPotentialEnergy()._value / KJ_PER_MOL_PER_EV


@pytest.mark.parametrize("charge", RIGHT)
@pytest.mark.parametrize("kernels", ["none", pytest.param("fused", marks=pytest.mark.slow)])
def test_energy_and_forces_with_a_charge(charge, kernels):
    shared(CHARGE)
    how = {"compile": None if kernels == "fused" else False, "kernels": kernels}
    frame, _ = methane()
    model = load_model(CHARGE, modelInputs={"charge": charge}, **how)
    assert model.info.inputs == (GraphInput("charge", -2, 2),)
    energy, forces = energy_and_forces(model, frame)
    assert energy == pytest.approx(RIGHT[charge], abs=ENERGY)
    step = 1e-4
    moved = frame.copy()
    moved.positions[1, 2] += step
    after = energy_and_forces(model, moved)[0]
    moved.positions[1, 2] -= 2 * step
    before = energy_and_forces(model, moved)[0]
    assert forces[1, 2] / KJ_PER_MOL_PER_EV / 10 == pytest.approx((before - after) / (2 * step), abs=1e-6)


@pytest.mark.slow
def test_systems_copies_and_files_keep_the_charge():
    shared(CHARGE)
    frame, topology = methane()
    potential = MLPotential("nequip", modelPath=CHARGE, modelInputs={"charge": -1})
    systems = {each: potential.createSystem(topology, modelInputs={"charge": each}, compile=False) for each in RIGHT}
    systems[-1] = potential.createSystem(topology, compile=False)
    for charge, system in systems.items():
        text = openmm.XmlSerializer.serialize(system)
        for each in (system, copy.deepcopy(system), openmm.XmlSerializer.deserialize(text)):
            assert energy_of(each, frame) == pytest.approx(RIGHT[charge], abs=ENERGY)


@pytest.mark.slow
def test_hybrid_systems_with_a_charge_for_each_model():
    """Two molecules far apart: each as alone, with one value for both or one for each."""
    shared(CHARGE)
    frame, _ = methane()
    symbols = frame.get_chemical_symbols()
    topology = make_topology(symbols * 2, residue_sizes=[len(symbols)] * 2)
    both = frame.copy()
    both.translate((30, 0, 0))
    both = frame + both
    plain = openmm.System()
    for atom in topology.atoms():
        plain.addParticle(atom.element.mass)
    first, second = list(range(len(symbols))), list(range(len(symbols), 2 * len(symbols)))

    def mixed(paths, inputs):
        return create_mixed_system(topology, plain, [first, second], paths, modelInputs=inputs, compile=False).system

    one = mixed(CHARGE, {"charge": 1})
    assert energy_of(one, both) == pytest.approx(2 * RIGHT[1], abs=2 * ENERGY)
    own = mixed([CHARGE, CHARGE], [{"charge": 1}, {"charge": 0}])
    assert energy_of(own, both) == pytest.approx(RIGHT[1] + RIGHT[0], abs=2 * ENERGY)
    other = mixed([CHARGE, DATA / "tiny-nequip.nequip.zip"], {"charge": 0})
    alone = energy_and_forces(load_model(DATA / "tiny-nequip.nequip.zip", compile=False), frame)[0]
    assert energy_of(other, both) == pytest.approx(RIGHT[0] + alone, abs=2 * ENERGY)
    with pytest.raises(ModelInputError, match="no input 'spin'"):
        mixed([CHARGE, CHARGE], {"charge": 0, "spin": 1})
    with pytest.raises(ModelInputError, match="2 mappings for 1 models"):
        two = [{"charge": 1}, {"charge": 0}]
        MLPotential("nequip", modelPath=CHARGE).createSystem(topology, modelInputs=two)
    with pytest.raises(ModelInputError, match="1 mappings for 2 models"):
        mixed([CHARGE, CHARGE], [{"charge": 0}])


WRONG = [
    (None, ModelInputError, r"needs the input charge \(whole numbers from -2 to 2\).*modelInputs=.*--input charge="),
    ({"spin": 1, "charge": 0}, ModelInputError, "no input 'spin'; its inputs: charge"),
    ({"charge": 3}, ModelInputError, "from -2 to 2.*charge=3"),
    ({"charge": 0.5}, ModelInputError, "charge=0.5"),
    ({"charge": float("nan")}, ModelInputError, "charge=nan is not finite"),
    ({"charge": float("inf")}, ModelInputError, "not finite"),
    ({"charge": "1"}, TypeError, "charge='1' is a str"),
    ({"charge": True}, TypeError, "charge=True is a bool"),
    ({"charge": [1]}, TypeError, "is a list"),
    ({1: 1}, TypeError, "no name of an input"),
    ("charge=1", TypeError, "give names and numbers"),
    ([("charge", 1), 2], TypeError, "give names and numbers"),
    (1, TypeError, "give names and numbers"),
]


@pytest.mark.parametrize(("inputs", "error", "words"), WRONG)
def test_wrong_inputs_are_refused_before_anything_is_made(inputs, error, words):
    shared(CHARGE)
    _, topology = methane()
    with pytest.raises(error, match=words):
        load_model(CHARGE, compile=False, modelInputs=inputs)
    with pytest.raises(error, match=words):
        MLPotential("nequip", modelPath=CHARGE).createSystem(topology, modelInputs=inputs)


@pytest.mark.parametrize("name", ["magmoms", "dipole", "polarization"])
def test_inputs_that_are_no_number_are_refused_with_the_reason(name):
    wanted = inputs_of_fields(["pos", "atom_types", name], {})
    assert "not one number" in str(wanted[0])
    for given in ({}, {name: 1}):
        with pytest.raises(ModelInputError, match=f"takes '{name}', which has a value for each atom") as caught:
            check_inputs(wanted, parse_inputs(given), "model.nequip.zip")
        assert caught.value.name == name


def test_models_without_inputs_refuse_them():
    with pytest.raises(ModelInputError, match="none beside the structure") as caught:
        load_model(DATA / "tiny-nequip.nequip.pth", modelInputs={"charge": 1})
    assert caught.value.name == "charge"


def test_numbers_of_numpy_and_torch_are_numbers():
    one = Execution(inputs={"charge": np.int64(1), "field": np.float32(0.5)})
    assert one == Execution(inputs={"field": 0.5, "charge": torch.tensor(1)}) == Execution.from_dict(one.as_dict())
    assert "inputs" not in Execution().as_dict(), "files without inputs are those of earlier releases"


def test_the_command_line(capsys, tmp_path):
    shared(CHARGE)
    assert main(["info", str(CHARGE)]) == 0
    assert "charge (whole numbers from -2 to 2)" in capsys.readouterr().out
    for charge, right in RIGHT.items():
        assert main(["energy", str(CHARGE), str(METHANE), "--input", f"charge={charge}"]) == 0
        assert f"{right:.6f}"[:-1] in capsys.readouterr().out
    for typed, words in [([], "--input charge="), (["charge"], "NAME=VALUE"), (["charge=x"], "'x' is no number"),
                         (["charge=1", "charge=2"], "twice")]:  # fmt: skip
        assert main(["energy", str(CHARGE), str(METHANE), *(["--input", *typed] if typed else [])]) != 0
        assert words in capsys.readouterr().err


@pytest.mark.slow
def test_runs_and_restarts_keep_the_charge(tmp_path, capsys):
    shared(CHARGE)
    output = tmp_path / "run"
    settings = tmp_path / "run.toml"
    settings.write_text(
        f'model = "{CHARGE}"\nstructure = "{METHANE}"\ninput = ["charge=1"]\nminimize = false\nequilibrate = 0\n'
        'steps = 4\nreport-interval = 2\nensemble = "nve"\ntemperature = 1e-6\n'
    )
    assert main(["run", "--config", str(settings), "--output", str(output)]) == 0
    assert main(["run", "--restart", "--output", str(output), "--steps", "8"]) == 0
    rows = np.genfromtxt(output / "log.csv", delimiter=",", names=True)
    potential = next(rows[name] for name in rows.dtype.names if "potential" in name)
    assert np.abs(potential / KJ_PER_MOL_PER_EV - RIGHT[1]).max() < 1e-3
    assert main(["run", "--restart", "--output", str(output), "--steps", "9", "--input", "charge=0"]) != 0
    assert "input was" in capsys.readouterr().err


class Charged(torch.nn.Module):
    """The toy model of the tests with an energy of a tenth of the charge for each atom, as nequip's scripted files."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = LennardJones(3.4, 0.01, CUTOFF_NM * 10)
        self.model_input_fields = ["pos", "edge_index", "cell", "charge"]

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        out = self.inner(data)
        shift = 0.1 * data["charge"].to(torch.float64)
        out["atomic_energy"] = out["atomic_energy"] + shift
        out["total_energy"] = out["total_energy"] + shift * data["pos"].size(0)
        return out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_with_a_charge(tmp_path, backend):
    path = tmp_path / "charged.nequip.pth"
    extra = {"r_max": str(CUTOFF_NM * 10), "type_names": "H C Ar", "model_dtype": "float64"}
    torch.jit.save(torch.jit.script(Charged()), str(path), _extra_files=extra)
    assert [each.name for each in read_info(locate(path)).inputs] == ["charge"]
    frame, topology = methane()
    energies = {}
    for charge in (0, 2):
        potential = MLPotential("nequip", modelPath=path)
        system = potential.createSystem(topology, modelInputs={"charge": charge}, backend=backend)
        energies[charge] = energy_of(openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system)), frame)
    assert energies[2] - energies[0] == pytest.approx(0.2 * len(frame), abs=ENERGY)
    with pytest.raises(ModelInputError, match=r"charge \(one whole number\).*charge=1.5"):
        load_model(path, modelInputs={"charge": 1.5})


def test_packages_compiled_with_inputs():
    """`nequip-compile --input-fields ... charge`: the value stands where the file expects it."""
    info = ModelInfo(("H", "C"), 4.0, "float64", inputs=(GraphInput("charge"),))
    fields = (POSITIONS, EDGE_INDEX, "charge", TYPES, CELL, SHIFTS), ("total_energy", "forces")
    assert {*fields[0]} == {*INPUT_FIELDS, "charge"}
    given = {"charge": torch.tensor([[3]])}

    def package(positions, edges, charge, types, cell, shifts):
        return charge.double(), torch.zeros_like(positions)

    model = AOTInductorModel(info, torch.device("cpu"), package, fields, given)
    assert energy_and_forces(model, ase.io.read(METHANE))[0] == pytest.approx(3.0)


def test_checkpoints_state_their_inputs(tmp_path):
    stored = torch.load(DATA / "tiny-nequip.ckpt", weights_only=False, map_location="cpu")
    config = stored["hyper_parameters"]["model"]
    while "type_names" not in config:
        config = config["model"]
    config["categorical_graph_field_embed"] = [{"field": "spin", "num_features": 2, "min": 1, "max": 5}]
    torch.save(stored, tmp_path / "spin.ckpt")
    assert read_info(locate(tmp_path / "spin.ckpt")).inputs == (GraphInput("spin", 1, 5),)
    with pytest.raises(ModelInputError, match=r"needs the input spin .*'spin': 1"):
        load_model(tmp_path / "spin.ckpt", compile=False)
