"""A committee on ranks of LAMMPS, against the same models in one process: mean, bias, and how far they are apart."""

import json
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from nequip_models import structure
from test_ranks import ENERGY, FORCE, MASSES, MODELS, PRESSURE, SHIPPED, in_ev

from openmm_nequip.app.engines.lammps import mpi_programs
from openmm_nequip.app.engines.lammps.lammps_input import data_file
from openmm_nequip.app.engines.lammps.ranked_system import check_settings, ranked_system
from openmm_nequip.app.run.md_run import start_run
from openmm_nequip.app.run.run_analysis import read_log
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.structures.structure_files import read_structure
from openmm_nequip.committee_bias import CommitteeBias
from openmm_nequip.errors import CommitteeError, EngineError, ModelFileError
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.models import load_model, locate, read_info
from openmm_nequip.units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, KJ_PER_MOL_PER_EV, Units

HERE = Path(__file__).parent
PATHS = [str(path) for path in MODELS.values()]  # NequIP with cutoffs by types, Allegro of another cutoff
SIZES = (1, 2)


def asked(model, types, positions, cell, bias=None):
    placement = Placement(len(types), types)
    periodic = cell is not None
    return Evaluator(model, Units(), placement, periodic, 0.0, bias).evaluate(positions, cell if periodic else None)


def by_type(info):
    return info.per_edge_type_cutoff or [[info.cutoff] * 4] * 4


@pytest.mark.slow
def test_ranks_find_what_one_process_finds(tmp_path):
    """On one and two ranks: the mean, with and without a bias, and the first model alone."""
    positions, types, cell = structure(60, 4, 9.0, closest=1.1, seed=5)
    model = load_model(PATHS, compile=False, kernels="none")
    place = types, positions / 10, cell / 10
    plain = asked(model, *place)
    bias = CommitteeBias(0.4 * plain["energy_spread"], 3.0 / plain["energy_spread"])
    expected = {"mean": plain, "biased": asked(model, *place, bias), "first": asked(model.members[0], *place)}
    assert expected["biased"]["bias"] > 1.0
    found = on_ranks(tmp_path, bias, data_file(positions, 0 * positions, (types + 1).tolist(), MASSES, cell))
    for name, out in expected.items():
        energy, forces = in_ev(out)
        for size in SIZES:
            prefix = f"{name}-{size}-"
            answer = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
            assert answer["energy"] == pytest.approx(energy, rel=ENERGY)
            assert np.abs(answer["rows"][:, 7:] - forces).max() < FORCE
            assert answer["pressure"] == pytest.approx(-np.trace(out["stress"]) / 3, rel=PRESSURE)
            # The deviation is that of all models, whoever drives.
            assert np.abs(answer["deviation"] - plain["forces_spread"] / KJ_PER_MOL_PER_EV / 10).max() < FORCE
            spreads = [plain["energy_spread"], plain["atomic_energies_spread"].max(), out.get("bias", 0.0)]
            assert answer["spreads"] == pytest.approx(np.array(spreads) / KJ_PER_MOL_PER_EV, rel=1e-10)
            assert answer["energies"] == pytest.approx(found[f"{name}-1-energies"], rel=1e-9)


def on_ranks(folder, bias, atoms):
    """Answers of the ranks."""
    (folder / "atoms.data").write_text(atoms)
    infos = [read_info(locate(path)) for path in PATHS]
    wide = by_type(read_info(locate(PATHS)))
    common = {
        "members": [(path, info.cutoff) for path, info in zip(PATHS, infos, strict=True)],
        "rules": {"model_types": [0, 1, 2, 3], "cutoffs": wide},
    }  # fmt: skip
    together = {"cutoffs": [by_type(info) for info in infos], "drive": "mean"}
    models = {
        "mean": common | {"together": together},
        "biased": common | {"together": together | {"bias": vars(bias.per(KJ_PER_MOL_PER_EV))}},
        "first": common | {"together": together | {"drive": "first"}},
    }
    (folder / "job.json").write_text(json.dumps({
        "models": models, "sizes": SIZES, "data": str(folder / "atoms.data"), "periodic": True, "steps": 2,
        "dynamics": {"timestep": 2.5e-4}, "blocks": 1, "answers": str(folder / "answers.npz"),
    }))  # fmt: skip
    command = [mpi_programs.find_mpiexec(), "-n", str(max(SIZES)), sys.executable, str(HERE / "rank_probe.py")]
    environment = mpi_programs.rank_environment(1)
    subprocess.run([*command, str(folder / "job.json")], env=environment, check=True, timeout=500)
    return dict(np.load(folder / "answers.npz"))


def settings(folder, **more):
    return make_config({
        "committee": PATHS, "structure": str(SHIPPED / "alanine-dipeptide.pdb"), "output": str(folder / "run"),
        "engine": "lammps", **more,
    })  # fmt: skip


@pytest.mark.slow
def test_a_run_on_ranks_writes_its_deviations(tmp_path):
    """Frames of the run, asked again in one process."""
    outcome = start_run(settings(
        tmp_path, seed=3, minimize=False, equilibrate=0, ensemble="nve", temperature=10.0, steps=6,
        report_interval=2, timestep=0.02, deviation_select=1e-6, committee_bias=[0.01, 0.5], reactive=True,
    ))  # fmt: skip
    summary, folder = outcome.summary, tmp_path / "run"
    assert summary["committee"]["looks"] == 3 and summary["committee"]["models"] == PATHS
    assert [rank["atoms"] for rank in summary["ranks"]] and summary["committee"]["bias"]["acting"] == 1.0
    table = read_log(folder / "deviation.csv")
    frame = ase.io.read(folder / "selected.extxyz", "0")
    assert frame.info["step"] == table["step"][0] == 2
    model = load_model(PATHS, compile=False, kernels="none")
    kinds = np.array([model.info.type_names.index(symbol) for symbol in frame.get_chemical_symbols()])
    out = asked(model, kinds, frame.positions / 10, None)
    spread = out["forces_spread"] / KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM
    assert frame.arrays["atom_deviation_ev_per_angstrom"] == pytest.approx(spread, rel=1e-5)  # eight digits in the file
    assert table["energy_spread_ev"][0] == pytest.approx(out["energy_spread"] / KJ_PER_MOL_PER_EV, rel=1e-6)
    assert table["bias_ev"][0] == pytest.approx(0.25 * (table["energy_spread_ev"][0] - 0.01) ** 2, rel=1e-9)


def test_what_ranks_refuse_of_a_committee(tmp_path):
    structure = read_structure(SHIPPED / "alanine-dipeptide.pdb")

    def made(**more):
        config = settings(tmp_path, **more)
        check_settings(config)
        return ranked_system(config, structure)

    with pytest.raises(ModelFileError, match="tiny-nequip.nequip.pth is a torchscript file: .* for a whole"):
        made(committee=[PATHS[0], str(HERE / "data" / "tiny-nequip.nequip.pth")])
    with pytest.raises(CommitteeError, match="drive=0 exclude each other"):
        made(drive="0", committee_bias=[0.1, 5.0])
    with pytest.raises(EngineError, match="does not read tables"):
        made(tables=False)
    _, ranks = made()
    assert ranks.count == 1
