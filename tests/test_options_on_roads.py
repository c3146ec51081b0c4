"""Every option on every road is read, or refused by name: a wrong value never goes through."""


import warnings

import pytest
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from toy import make_topology, write_toy

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.hybrid_system import model_options
from openmm_nequip.app.run.run_config import RunConfig, make_config
from openmm_nequip.options import Options

#: A value that no road may take, and the word that its error has.
WRONG = {
    "atomCharges": ([0.0, 0.0], "atomCharges"),
    "atomTypes": (["Xe"], "atomTypes"),
    "backend": ("Torch", "backend='Torch'"),
    "committee": ([], "the committee is empty"),
    "committeeBias": ((0.1, -1.0), "committeeBias"),
    "compile": ("no", "compile='no'"),
    "coulombCutoff": (1.2, "coulombCutoff"),
    "cudaGraphs": ("perhaps", "cudaGraphs='perhaps'"),
    "declareMolecules": ("no", "declareMolecules"),
    "device": ("tpu", "device='tpu'"),
    "drive": (2, "drive=2"),
    "embedModel": ("no", "embedModel='no'"),
    "energyScale": (-1.0, "energyScale"),
    "energyUnit": ("", "energyUnit=''"),
    "kernels": ("fast", "kernels='fast'"),
    "lengthScale": (0, "lengthScale"),
    "lengthUnit": ("parsec", "lengthUnit='parsec'"),
    "linkType": ("Xe", "linkType"),
    "maxNeighbors": (100, "maxNeighbors"),
    "modelInputs": ({"charge": 1}, "charge"),
    "modifiers": ("enable_A", "modifiers='enable_A'"),
    "moduleInputs": ("positions,foo", "moduleInputs: there is no input 'foo'"),
    "precision": ("half", "precision='half'"),
    "properties": ({"useCudaGraphs": "true"}, "useCudaGraphs"),
    "removeReferenceEnergy": (False, "removeReferenceEnergy"),
    "skin": (True, "skin=True"),
    "tables": ("no", "tables='no'"),
    "trusted": ("0" * 64, "is not the trusted one"),
}
#: Atoms 8 to 13 of alanine dipeptide: a cut bond, so that link options mean something.
REGION = list(range(8, 14))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return str(write_toy(tmp_path_factory.mktemp("toy") / "toy.nequip.pth"))


def constructor(model, **options):
    potential = MLPotential("nequip", modelPath=model, **options)
    hybrid = "linkType" in options
    atoms = REGION if hybrid else None
    return mixed(potential, atoms) if hybrid else potential.createSystem(make_topology(["H", "C"]))


def create_system(model, **options):
    return MLPotential("nequip", modelPath=model).createSystem(make_topology(["H", "C"]), **options)


def mixed(potential, atoms=REGION, **options):
    return potential.createMixedSystem(dipeptide()[0], vacuum_system(), atoms, **options)


def create_mixed(model, **options):
    return mixed(MLPotential("nequip", modelPath=model), **options)


def own_mixed(model, **options):
    return openmm_nequip.create_mixed_system(dipeptide()[0], vacuum_system(), REGION, model, **options)


def load(model, **options):
    return openmm_nequip.load_model(model, **options)


ROADS = {
    "constructor": (constructor, Options.names()),
    "createSystem": (create_system, Options.names()),
    "createMixedSystem": (create_mixed, Options.names()),
    "create_mixed_system": (own_mixed, Options.names()),
    "load_model": (load, Options.names()),
}


def test_the_table_is_complete():
    assert set(WRONG) == set(Options.names())


@pytest.mark.parametrize("option", WRONG)
@pytest.mark.parametrize("road", ROADS)
def test_an_option_is_read_or_refused(road, option, toy):
    call, _ = ROADS[road]
    value, word = WRONG[option]
    with pytest.raises((ValueError, TypeError)) as caught:
        call(toy, **{option: value})
    text = str(caught.value)
    assert word in text or ("does not know" in text or "unexpected keyword" in text) and option in text, text


@pytest.mark.parametrize("road", ["createSystem", "createMixedSystem", "create_mixed_system"])
def test_a_call_may_not_loosen_what_the_constructor_pinned(road, toy):
    """Trust given to one road is not forgotten on the next, and a wrong digest runs nothing."""
    good = openmm_nequip.models.locate(toy).sha256
    call, _ = ROADS[road]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the region's charge is no whole number
        assert call(toy, trusted=good.upper())
    with pytest.raises(openmm_nequip.ModelFileError, match="nothing of it was loaded"):
        call(toy, trusted=f"{int(good, 16) ^ 1:064x}")


@pytest.mark.parametrize("digest", ["", "0" * 63, "g" * 64, 5, b"0" * 64, True])
def test_a_digest_that_is_none(digest, toy):
    for road in ROADS:
        with pytest.raises(ValueError, match=r"trusted=.* is no SHA-256; give its 64 hexadecimal digits"):
            ROADS[road][0](toy, trusted=digest)


@pytest.mark.parametrize(
    "option", ["rule", "positions", "linkElement", "linkCharge", "linkType", "splitRegions", "cutoff_nm", "keepForces"]
)
def test_options_of_hybrid_systems_do_not_belong_to_pure_ones(option, toy):
    with pytest.raises(TypeError, match=f"createSystem does not know {option}: hybrid Systems have it"):
        create_system(toy, **{option: "gromacs"})


#: Settings of a run that stand for an option, and words for wrong values; the rest of the options it does not have.
SETTINGS = {
    "backend": ("Torch", "backend = 'Torch'"),
    "committee": ("b.ckpt", "committee = 'b.ckpt'"),
    "committee_bias": ([0.1], r"committee-bias=\(0.1,\): give two numbers"),
    "compile": ("no", "compile = 'no'"),
    "cuda_graphs": ("perhaps", "cuda-graphs = 'perhaps'"),
    "deviation_interval": (0, "deviation-interval = 0"),
    "deviation_select": (0.0, "deviation-select = 0.0"),
    "deviation_stop": ("much", "deviation-stop = 'much'"),
    "device": (3, "device = 3"),
    "drive": (1, "drive = '1': use one of mean, 0"),
    "coulomb_cutoff": (-1.0, "coulomb-cutoff"),
    "kernels": ("fast", "kernels = 'fast'"),
    "max_neighbors": (0, "max-neighbors"),
    "modifiers": ("enable_A", "modifiers = 'enable_A'"),
    "remove_reference_energy": ("no", "remove-reference-energy = 'no'"),
    "tables": ("no", "tables = 'no'"),
    "trusted": (5, "trusted = 5"),
    "types": ("H", "types = 'H'"),
    "units": (["nm"], "units=.*give two"),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_of_a_run_is_read(setting):
    value, words = SETTINGS[setting]
    with pytest.raises(ValueError, match=words):
        make_config({"model": "m", "structure": "s", "output": "o", setting: value})


def test_a_run_hands_every_setting_of_the_model_on():
    """What a user sets arrives as an option of the potential; trust goes its own way beside them."""
    config = RunConfig(model="m", structure="s", output="o", units=("nm", "kJ/mol"), types=("0", "C"),
                       backend="PythonForce", compile=False, kernels="none", tables=False, modifiers=("enable_A",),
                       cuda_graphs="off", device="cpu", input=("charge=1",), remove_reference_energy=False,
                       max_neighbors=99, coulomb_cutoff=12.0, committee_bias=(0.1, 5.0))  # fmt: skip
    assert model_options(config) == {
        "lengthUnit": "nm", "energyUnit": "kJ/mol", "atomTypes": [0, "C"], "backend": "PythonForce", "compile": False,
        "kernels": "none", "tables": False, "modifiers": ("enable_A",), "cudaGraphs": False, "device": "cpu",
        "modelInputs": {"charge": 1}, "removeReferenceEnergy": False, "maxNeighbors": 99,
        "coulombCutoff": pytest.approx(1.2), "committeeBias": (0.1, 5.0),
    }  # fmt: skip


@pytest.fixture
def argon(tmp_path):
    path = tmp_path / "two.xyz"
    path.write_text("2\n\nAr 0 0 0\nAr 3.8 0 0\n")
    return str(path)


@pytest.mark.parametrize("command", ["info", "energy", "run", "compile", "bench"])
def test_commands_refuse_what_is_not_trusted(command, toy, argon, tmp_path, capsys):
    arguments = {
        "info": [toy],
        "energy": [toy, argon],
        "run": ["--model", toy, "--structure", argon, "--output", str(tmp_path / "run"), "--steps", "1"],
        "compile": [toy],
        "bench": ["--model", toy, "--output", str(tmp_path / "bench"), "--trusted", "0" * 64],
    }[command]
    given = arguments if "--trusted" in arguments else [*arguments, "--trusted", "0" * 64]
    try:
        code = main([command, *given])
    except SystemExit as stop:  # refused as an option that the command does not have
        code = stop.code
    assert code != 0
    text = capsys.readouterr().err
    assert "is not the trusted one" in text or "unrecognized arguments: --trusted" in text, text
    assert not (tmp_path / "run").exists()
