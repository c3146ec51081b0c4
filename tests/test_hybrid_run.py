"""Hybrid runs from the command line: OpenMM's force fields, Amber and GROMACS files, restarts, bad input."""

import json
from pathlib import Path

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import pytest
from conftest import DATA
from toy import evaluate

import openmm_nequip
from openmm_nequip import create_mixed_system
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.hybrid_system import make_hybrid, read_hybrid_structure
from openmm_nequip.app.run.run_config import make_config

pytestmark = pytest.mark.torchforce_stack

MODEL = str(DATA / "tiny-nequip.nequip.pth")
PEPTIDE = str(Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.pdb")
FORCEFIELD = ["amber14-all.xml", "amber14/tip3p.xml"]
#: kJ/mol between two ways to build one System.
ENERGY = 1e-3


def run(output, *more, steps=20):
    """Arguments of a short hybrid run on the CPU in vacuum, unless told otherwise."""
    return [
        "run", "--model", MODEL, "--structure", PEPTIDE, "--ml-atoms", "resname ALA", "--forcefield", *FORCEFIELD,
        "--steps", str(steps), "--equilibrate", "0", "--no-minimize", "--report-interval", "10", "--platform",
        "Reference", "--checkpoint-interval", "10", "--seed", "1", "--temperature", "10", "--quiet", "--output",
        str(output), *more,
    ]  # fmt: skip


@pytest.mark.slow
def test_the_run_log_has_the_report_and_the_molecule_its_cut_bonds(tmp_path):
    assert main(run(tmp_path / "out")) == 0
    log = (tmp_path / "out" / "run.log").read_text()
    assert "the model describes 10 of 22 atoms, 2 cut bonds" in log
    assert "bonded terms by the rule 'openmm-ml'" in log and "Constraints inside regions" in log
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["steps"] == 20


@pytest.mark.slow
def test_a_solvated_run_restarts_as_it_was(tmp_path):
    """Solvation need not repeat itself atom for atom: System and structure are read back, nothing is built anew."""
    arguments = ["--solvate", "0.5", "--ensemble", "nve"]
    assert main(run(tmp_path / "one", *arguments)) == 0
    assert main(run(tmp_path / "two", *arguments, steps=10)) == 0
    assert main(["run", "--output", str(tmp_path / "two"), "--restart", "--steps", "20", "--quiet"]) == 0
    rows = [np.genfromtxt(tmp_path / name / "log.csv", delimiter=",", names=True) for name in ("one", "two")]
    assert [list(table["step"]) for table in rows] == [[10, 20], [10, 20]]
    totals = rows[1]["total_energy_kj_per_mol"]
    assert abs(totals[1] - totals[0]) < 1.0  # kJ/mol over 5 fs without a thermostat: the same System went on
    atoms = [(tmp_path / name / "start.pdb").read_text().count("HOH") for name in ("one", "two")]
    assert min(atoms) > 50


def small_box():
    """A box of 64 flexible-model waters: topology, positions nm, box nm."""
    modeller = app.Modeller(app.Topology(), [])
    modeller.addSolvent(app.ForceField("amber14/tip3p.xml"), boxSize=openmm.Vec3(1.3, 1.3, 1.3))
    return modeller.topology, np.array(modeller.positions.value_in_unit(unit.nanometer))


GROMACS_TOP = """[ defaults ]
1 2 yes 0.5 0.8333
[ atomtypes ]
OW 8 15.999 -0.834 A 0.315075 0.635968
HW 1 1.008 0.417 A 0.0 0.0
[ moleculetype ]
SOL 2
[ atoms ]
1 OW 1 SOL O 1 -0.834 15.999
2 HW 1 SOL H1 1 0.417 1.008
3 HW 1 SOL H2 1 0.417 1.008
[ settles ]
1 1 0.09572 0.15139
[ exclusions ]
1 2 3
2 1 3
3 1 2
[ system ]
water
[ molecules ]
SOL {count}
"""


def test_gromacs_files(tmp_path):
    """top and gro give the System that OpenMM's readers give, with the model on one water."""
    topology, positions = small_box()
    count = topology.getNumResidues()
    (tmp_path / "water.top").write_text(GROMACS_TOP.format(count=count))
    box = topology.getUnitCellDimensions().value_in_unit(unit.nanometer)
    lines = ["water", str(len(positions))]
    for i, (atom, xyz) in enumerate(zip(topology.atoms(), positions, strict=True)):
        coordinates = "".join(f"{x:8.3f}" for x in xyz)
        lines.append(f"{atom.residue.index + 1:5d}{'SOL':5s}{atom.name:>5s}{i + 1:5d}{coordinates}")
    lines.append(f"{box[0]:10.5f}{box[1]:10.5f}{box[2]:10.5f}")
    (tmp_path / "water.gro").write_text("\n".join(lines) + "\n")
    config = make_config(
        {"model": MODEL, "structure": str(tmp_path / "water.gro"), "output": str(tmp_path / "out"),
         "topology": str(tmp_path / "water.top"), "ml_atoms": "resid 0"}
    )  # fmt: skip
    structure, system = make_hybrid(config, read_hybrid_structure(config))
    assert system.getNumParticles() == 3 * count and system.usesPeriodicBoundaryConditions()
    file = app.GromacsTopFile(str(tmp_path / "water.top"))
    assert system.getNumConstraints() == 3 * (count - 1)
    assert file.topology.getNumAtoms() == len(structure.positions_nm)
    assert np.isfinite(evaluate(system, structure.positions_nm)[0])


@pytest.mark.slow
def test_amber_files():
    """prmtop and inpcrd: the mixed System's energy is the model's plus what the force field keeps."""
    config = make_config(
        {"model": MODEL, "structure": str(DATA / "peptide-water.inpcrd"), "output": "unused",
         "topology": str(DATA / "peptide-water.prmtop"), "ml_atoms": "resname ACE ALA NME"}
    )  # fmt: skip
    structure, system = make_hybrid(config, read_hybrid_structure(config))
    amber = app.AmberPrmtopFile(config.topology, periodicBoxVectors=[openmm.Vec3(*row) for row in structure.box_nm])
    cutoff = 0.45 * structure.box_nm[0, 0]
    mm = amber.createSystem(nonbondedMethod=app.PME, nonbondedCutoff=cutoff, constraints=app.HBonds)
    assert system.getNumParticles() == mm.getNumParticles() == len(structure.positions_nm)
    same = create_mixed_system(amber.topology, mm, range(22), MODEL)
    expected, forces = evaluate(same.system, structure.positions_nm)
    energy, found = evaluate(system, structure.positions_nm)
    assert energy == pytest.approx(expected, abs=ENERGY) and np.abs(found - forces).max() < ENERGY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ml-atoms", "resname ALA"], "--ml-atoms needs a force field for the other atoms"),
        (["--forcefield", *FORCEFIELD], "say with --ml-atoms which atoms the model describes"),
        (["--solvate", "0.5"], "say with --ml-atoms"),
        (["--ml-atoms", "resname XYZ", "--forcefield", *FORCEFIELD], "matches none of the 22 atoms"),
        (["--ml-atoms", "resname ALA", "--forcefield", "nothing.xml"], "--forcefield nothing.xml"),
        (["--ml-atoms", "resname ALA", "--forcefield", "amber14/tip3p.xml"], "the force field does not fit"),
        (["--ml-atoms", "resname ALA", "--topology", "none.prmtop"], "none.prmtop does not exist"),
        (["--ml-atoms", "all", "--forcefield", *FORCEFIELD, "--rule", "mine"], "invalid choice"),
    ],
)
def test_bad_input(tmp_path, capsys, arguments, message):
    import re

    words = ["run", "--model", MODEL, "--structure", PEPTIDE, "--output", str(tmp_path / "out"), "--steps", "1"]
    try:
        code = main([*words, *arguments])
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2)
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()
