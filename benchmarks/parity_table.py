"""One model file, one number: the table of ``docs/parity.md``. ``python benchmarks/parity_table.py [ROW ...]``.

Each row is a model file on a structure, asked of every program that is installed (``openmm-nequip parity``), or a model
in a hybrid System, asked of this package on its platforms and of OpenMM-ML's own ``nequip``. Rows of CP2K's files need
the folder ``../shared/data/cp2k``; those of foundation size write models with random weights (``foundation_size.py``)
into ``--folder`` and take minutes. Rows that are not asked for stay as they are. ``tests/test_parity_table.py`` remakes
three of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import ase
import ase.io
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "parity.md"
MARK = "<!-- by benchmarks/parity_table.py -->"
TESTS = ROOT / "tests" / "data"
CP2K = ROOT.parent / "shared" / "data" / "cp2k"
SHIPPED = Path(str(files("openmm_nequip") / "data"))
MODEL, PEPTIDE = SHIPPED / "alanine-dipeptide.nequip.zip", SHIPPED / "alanine-dipeptide.pdb"
EV = 96.48533212331002  # kJ/mol
#: Share of the largest force of a force field that is rounding on the CPU platform.
SINGLE = 1e-5
HEADS = ("model file", "structure", "answers", "energy, eV", "meV/atom", "eV/Å", "bar", "share")


class Folder(NamedTuple):
    """Where files are made."""

    scratch: Path
    kept: Path


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Parameters
    ----------
    model, structure : str
        What the page calls them.
    precision : str
        Of the model.
    place : callable
        Writes or finds the model and the structure in a :class:`Folder`.
    words : tuple of str
        More words of the command.
    """

    model: str
    structure: str
    precision: str
    place: Callable[[Folder], tuple[Path, Path]] | None
    words: tuple[str, ...] = ()


def lattice(folder: Folder, side: int) -> Path:
    """A triclinic crystal of side^3 atoms, H, C, N and O at random."""
    random = np.random.default_rng(3)
    cell = np.array([[6.2, 0, 0], [1.4, 6.0, 0], [-0.9, 1.1, 5.8]]) * side / 3
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3) / side
    atoms = ase.Atoms(random.choice(["H", "C", "N", "O"], side**3), grid @ cell, cell=cell, pbc=True)
    atoms.rattle(0.1, seed=2)
    ase.io.write(folder.scratch / "crystal.extxyz", atoms)
    return folder.scratch / "crystal.extxyz"


def one_water(folder: Folder) -> Path:
    """A water molecule in the box of CP2K's input ``water-sp.inp``."""
    places = [[42.88616967, -0.05568166, 38.32916112], [34.20258872, -0.6185484, 37.36556808],
              [43.20990872, -0.06284565, 47.25931559]]  # fmt: skip
    ase.io.write(folder.scratch / "water.extxyz", ase.Atoms("HHO", places, cell=[9.85] * 3, pbc=True))
    return folder.scratch / "water.extxyz"


def foundation(name: str) -> Callable[[Folder], tuple[Path, Path]]:
    """A model of foundation size with random weights, and its structure."""

    def place(folder: Folder) -> tuple[Path, Path]:
        sys.path.insert(0, str(Path(__file__).parent))
        import foundation_size

        where = folder.kept / name
        with contextlib.redirect_stdout(sys.stderr):
            foundation_size.write(where, name)
        return where / "model.nequip.zip", where / "structure.xyz"

    return place


def _tests(model: str, side: int) -> Callable[[Folder], tuple[Path, Path]]:
    return lambda folder: (TESTS / model, lattice(folder, side))


def _cp2k(model: str, structure: str) -> Callable[[Folder], tuple[Path, Path]]:
    return lambda folder: (CP2K / model, CP2K / structure)


CUBE = ("--box", "9.8528", "9.8528", "9.8528")
#: By the words of the command line.
ROWS = {
    "peptide": Row("the shipped NequIP `.nequip.zip`", "alanine dipeptide, no box", "float32",
                   lambda folder: (MODEL, PEPTIDE)),
    "hybrid": Row("the shipped NequIP `.nequip.zip`", "the peptide in TIP3P water: hybrid", "float32", None),
    "triclinic": Row("NequIP `.nequip.zip`, two layers, cutoffs by pair", "triclinic crystal, 6 Å wide", "float64",
                     _tests("tiny-nequip.nequip.zip", 3)),
    "checkpoint": Row("NequIP `.ckpt`, the same model", "triclinic crystal, 6 Å wide", "float64",
                      _tests("tiny-nequip.ckpt", 3)),
    "large": Row("NequIP `.nequip.zip`, two layers, cutoffs by pair", "triclinic crystal, 24 Å wide", "float64",
                 _tests("tiny-nequip.nequip.zip", 12)),
    "allegro": Row("Allegro `.nequip.zip`, two layers, ZBL", "triclinic crystal, 6 Å wide", "float64",
                   _tests("tiny-allegro.nequip.zip", 3)),
    "allegro-script": Row("Allegro `.nequip.pth`, the same model", "triclinic crystal, 24 Å wide", "float64",
                          _tests("tiny-allegro.nequip.pth", 12)),
    "cp2k": Row("CP2K's NequIP of nequip 0.16", "32 waters", "float64",
                _cp2k("waterscan-neq0.16.nequip.pth", "water-bulk.xyz"), CUBE),
    "cp2k-double": Row("CP2K's NequIP of nequip 0.5", "32 waters", "float64",
                       _cp2k("inputs/seed/NequIP/water-double.pth", "inputs/seed/H2O-32.xyz"), CUBE),
    "cp2k-old": Row("CP2K's NequIP of nequip 0.5", "one water in a box", "float32",
                    lambda folder: (CP2K / "water-deployed-neq060sp.pth", one_water(folder))),
    "cp2k-allegro": Row("CP2K's Allegro of nequip 0.6", "water on graphene", "float32",
                        _cp2k("inputs/mid/Allegro/gra-water-deployed-neq060sp.pth", "inputs/mid/water-gra-film.xyz"),
                        ("--box", "12.8160", "12.3322", "55.0")),
    "cp2k-mace": Row("CP2K's MACE", "copper", "float64",
                     _cp2k("inputs/mace/MACE/MACE_scratch_run-3.model-cp2k.pth", "inputs/mace/mace-test.xyz")),
    "nequip-oam-s": Row("NequIP, size of OAM-S, 89 elements", "a crystal of 89 elements", "float32",
                        foundation("S"), ("--units", "angstrom", "eV")),
}  # fmt: skip


def by_command(row: Row, folder: Folder) -> dict[str, Any]:
    """What ``openmm-nequip parity`` says."""
    from openmm_nequip.app.cli import main

    model, structure = row.place(folder)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        main(["parity", str(model), str(structure), *row.words, "--json", "--quiet"])
    return json.loads(out.getvalue())


@dataclass
class Solvated:
    """The peptide in water: the force field's System, and the two ways to put the model into it."""

    modeller: app.Modeller = field(init=False)
    system: openmm.System = field(init=False)

    def __post_init__(self) -> None:
        pdb = app.PDBFile(str(PEPTIDE))
        field_ = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
        self.modeller = app.Modeller(pdb.topology, pdb.positions)
        # The number of waters that addSolvent finds is the same for each version; their places are those of its box.
        self.modeller.addSolvent(field_, boxSize=openmm.Vec3(2, 2, 2) * unit.nanometer)
        self.system = field_.createSystem(self.modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.9)

    @cached_property
    def peptide(self) -> list[int]:
        """Its atoms."""
        return [atom.index for atom in self.modeller.topology.atoms() if atom.residue.name != "HOH"]

    def ours(self) -> openmm.System:
        """By this package."""
        from openmmml import MLPotential

        return MLPotential("nequip", modelPath=str(MODEL)).createMixedSystem(
            self.modeller.topology, self.system, self.peptide
        )

    def openmm_ml(self) -> openmm.System:
        """By OpenMM-ML's own class, under another name."""
        from openmmml import MLPotential
        from openmmml.models.nequippotential import NequIPPotentialImplFactory

        MLPotential.registerImplFactory("nequip-of-openmm-ml", NequIPPotentialImplFactory())
        potential = MLPotential("nequip-of-openmm-ml", modelPath=str(MODEL), lengthScale=0.1, energyScale=EV)
        return potential.createMixedSystem(
            self.modeller.topology, self.system, self.peptide, mlLongRange=False
        )


def hybrid() -> dict[str, Any]:
    """A document as the command's, of all atoms' energies and forces in a hybrid System."""
    import torch

    from openmm_nequip.app.parity.answers import Difference, ProgramAnswer, Tolerance
    from openmm_nequip.models import locate, read_info
    from openmm_nequip.units import Units
    from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

    made = Solvated()

    def ask(name: str, system: openmm.System, platform: str) -> ProgramAnswer:
        chosen = openmm.Platform.getPlatform(platform)
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), chosen)
        context.setPositions(made.modeller.positions)
        state = context.getState(energy=True, forces=True)
        forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
        return ProgramAnswer(name, state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole), forces)

    system = made.ours()
    answers = [ask("openmm-nequip, Reference", system, "Reference"), ask("openmm-nequip, CPU", system, "CPU")]
    with preserved_global_state(), default_dtype(torch.float64):
        answers.append(ask("openmm-ml's own nequip, Reference", made.openmm_ml(), "Reference"))
    # By the forces on the model's atoms. Water that was just put in has contacts of any strength, whose forces the CPU
    # platform computes in single precision.
    felt = replace(answers[0], forces=answers[0].forces[made.peptide])
    allowed = Tolerance.of(read_info(locate(str(MODEL))), Units(), felt)
    allowed = replace(allowed, force=max(allowed.force, SINGLE * float(np.abs(answers[0].forces).max())))
    count = system.getNumParticles()
    rows = [Difference.between(answer, answers[0], allowed, count) for answer in answers]
    return {
        "atoms": count, "rows": [row.as_json() for row in rows],
        "disagreements": [row.name for row in rows if not row.agrees],
        "tolerance": {"energy_kj_per_mol_per_atom": allowed.energy, "force_kj_per_mol_nm": allowed.force,
                      "stress_bar": None},
    }  # fmt: skip


def measure(name: str, folder: Folder) -> dict[str, Any]:
    """The document of a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hybrid() if ROWS[name].place is None else by_command(ROWS[name], folder)


#: What is compared: the differences, and what each may be as rounding.
KINDS = {
    "energy_difference_kj_per_mol_per_atom": ("energy_kj_per_mol_per_atom", 1e3 / EV),
    "force_difference_kj_per_mol_nm": ("force_kj_per_mol_nm", 0.1 / EV),
    "stress_difference_bar": ("stress_bar", 1.0),
}


def worst(document: dict[str, Any], key: str) -> float | None:
    """The largest difference of a kind among those that answered."""
    found = [row[key] for row in document["rows"][1:] if row["agrees"] is not None and row[key] is not None]
    return max(found) if found else None


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def written(value: float) -> str:
    """One digit and a power of ten, which no line end divides."""
    digit, power = f"{value:.0e}".split("e")
    return f"{digit}·10{str(int(power)).translate(_SUPERSCRIPT)}" if value else "0"


def line(name: str, document: dict[str, Any]) -> str:
    """A row of the page."""
    row = ROWS[name]
    answered = [each for each in document["rows"] if each["agrees"] is not None]
    wrong = sum(not each["agrees"] for each in answered)
    off, shares = [], [0.0]
    for key, (limit, factor) in KINDS.items():
        found = worst(document, key)
        off.append("–" if found is None else written(found * factor))
        if found is not None:
            shares.append(found / document["tolerance"][limit])
    cells = (
        f"{row.model}, {row.precision}", f"{row.structure}, {document['atoms']} atoms",
        f"{len(answered)}, **{wrong} disagree**" if wrong else len(answered),
        f"{answered[0]['energy_kj_per_mol'] / EV:.5f}", *off, written(max(shares)),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def rows_of(text: str) -> dict[str, str]:
    """The lines of the page by what they are about."""
    table = [each for each in text.partition(MARK)[2].splitlines() if each.startswith("| ")][1:]
    found = {}
    for each in table:
        cells = [cell.strip() for cell in each.strip("|").split("|")]
        for name, row in ROWS.items():
            if cells[0] == f"{row.model}, {row.precision}" and cells[1].rpartition(", ")[0] == row.structure:
                found[name] = each
    return found


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all)")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "parity-models")
    given = parser.parse_args()
    unknown = set(given.rows) - ROWS.keys()
    if unknown:
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}")
    for name in given.rows or ROWS:
        with tempfile.TemporaryDirectory() as scratch:
            document = measure(name, Folder(Path(scratch), given.folder.resolve()))
        made = line(name, document)
        print(made, flush=True)
        for each in document["rows"]:
            print(f"    {each['program']}: {each['reason'] or each['energy_kj_per_mol']}", file=sys.stderr, flush=True)
        text = PAGE.read_text(encoding="utf-8")
        known = rows_of(text) | {name: made}
        before, _, after = text.partition(MARK)
        head = [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
        table = "\n".join([*head, *(known[each] for each in ROWS if each in known)])
        PAGE.write_text(f"{before}{MARK}\n{table}\n\n{after.partition(chr(10) * 2)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
