"""Every kind of potential on every road: createSystem, hybrid Systems, the commands, runs, restarts, saved Systems.

``test_roads.py`` goes them all; ``python tests/roads.py [ROW ...]`` goes them and writes the table of
``docs/formats.md``.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import module_potentials as potentials
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torchmdnet_files
from conftest import DATA, SHARED, compile_once
from openmmml import MLPotential

import openmm_nequip
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.run_analysis import read_log

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "formats.md"
MARK = "<!-- by tests/roads.py -->"
REFERENCE = openmm.Platform.getPlatform("Reference")
ROADS = ("System", "hybrid", "energy", "info", "run", "restart", "XML", "copy")
#: kJ/mol an atom: one potential through another door, in float32, whose last digit of a large total is
#: :data:`LAST_DIGITS` of it; and kJ/mol that ten steps of 0.01 fs may cost, relative to the kinetic energy.
TOLERANCE, LAST_DIGITS, DRIFT = 1e-5, 4e-7, 0.02
CELL_NM = 1.25
FAST = ("--no-minimize", "--equilibrate", "0", "--report-interval", "5", "--seed", "7", "--threads", "1", "--quiet",
        "--ensemble", "nve", "--timestep", "0.01", "--reactive", "--platform", "Reference")  # fmt: skip


class Kind(NamedTuple):
    """A row of the table."""

    title: str
    make: Callable[[Path], str]  #: writes or finds the file in a folder; what the commands are given
    inputs: tuple[str, ...] = ()  #: of modules
    units: tuple[str, ...] = ()
    periodic: bool = True
    module: Callable[[], Any] | None = None  #: what potential_from is given in place of the file
    needs: str = ""  #: distribution or folder without which there is nothing to try
    elements: tuple[str, str, str] = ("O", "H", "H")  #: of a molecule with the shape of water
    stretch: float = 1.0  #: of its bonds
    committee: tuple[str, ...] = ()  #: further models


def _shipped(name: str) -> Callable[[Path], str]:
    return lambda folder: str(DATA / name)


def _compiled(name: str, target: str) -> Callable[[Path], str]:
    return lambda folder: str(compile_once(DATA / f"{name}.nequip.zip", target))


def _published(name: str) -> Callable[[Path], str]:
    return lambda folder: str(SHARED / name)


def _ensemble(folder: Path) -> str:
    bundle = folder / "ensemble.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        for seed in (1, 2):
            archive.write(torchmdnet_files.write(folder / f"{seed}.ckpt", "gn", seed=seed), f"{seed}.ckpt")
    return str(bundle)


ANGSTROM = ("angstrom", "eV")
NM = ("nm", "kJ/mol")
NNPOT = ("atom-positions", "atom-numbers", "box", "pbc", "dtype=float64")
FULL = ("box", "edge-index", "positions", "cell-shifts", "numbers", "cutoff=14", "outputs=energy+atomic-energies")
KINDS = {
    "nequip-ckpt": Kind("NequIP, checkpoint `.ckpt`", _shipped("tiny-nequip.ckpt")),
    "nequip-zip": Kind("NequIP, package `.nequip.zip`", _shipped("tiny-nequip.nequip.zip")),
    "nequip-pth": Kind("NequIP, TorchScript `.nequip.pth`", _shipped("tiny-nequip.nequip.pth")),
    "nequip-pt2": Kind("NequIP, AOTInductor `.nequip.pt2`", _compiled("tiny-nequip", "ase")),
    "allegro-ckpt": Kind("Allegro, checkpoint `.ckpt`", _shipped("tiny-allegro.ckpt")),
    "allegro-zip": Kind("Allegro, package `.nequip.zip`", _shipped("tiny-allegro.nequip.zip")),
    "allegro-pth": Kind("Allegro, TorchScript `.nequip.pth`", _shipped("tiny-allegro.nequip.pth")),
    "allegro-pt2": Kind("Allegro, AOTInductor `.nequip.pt2`", _compiled("tiny-allegro", "pair_nequip")),
    "committee": Kind("committee, of a NequIP and an Allegro model", _shipped("tiny-nequip.ckpt"),
                      committee=(str(DATA / "tiny-allegro.nequip.zip"),)),
    "cp2k-05": Kind("CP2K: NequIP deployed by nequip 0.5", _published("water-deployed-neq060sp.pth"), needs="cp2k"),
    "cp2k-056": Kind("CP2K: the same, float64", _published("inputs/seed/NequIP/water-double.pth"), needs="cp2k"),
    "cp2k-016": Kind("CP2K: NequIP of nequip 0.16", _published("waterscan-neq0.16.nequip.pth"), needs="cp2k"),
    "cp2k-allegro": Kind("CP2K: Allegro deployed by nequip 0.6",
                         _published("inputs/mid/Allegro/gra-water-deployed-neq060sp.pth"), needs="cp2k"),
    "cp2k-mace": Kind("CP2K: MACE", _published("inputs/mace/MACE/MACE_scratch_run-3.model-cp2k.pth"), needs="cp2k",
                      elements=("Cu", "Cu", "Cu"), stretch=2.5),
    "torchmdnet": Kind("TorchMD-Net, checkpoint", lambda folder: torchmdnet_files.write(folder / "gn.ckpt", "gn"),
                       units=ANGSTROM, needs="torchmdnet"),
    "torchmdnet-zip": Kind("TorchMD-Net, ensemble `.zip`", _ensemble, units=ANGSTROM, needs="torchmdnet"),
    "nnpot": Kind("GROMACS NNPot module `.pt`",
                  lambda folder: potentials.save(potentials.InPlace(), folder / "nnpot.pt"), NNPOT),
    "module-file": Kind("module of one's own, a scripted file",
                        lambda folder: potentials.save(potentials.FullList(), folder / "module.pt"), FULL,
                        ("angstrom", "kJ/mol")),
    "module": Kind("module of one's own, an `nn.Module`", lambda folder: "python:module_potentials:Springs",
                   ("positions",), NM, periodic=False, module=potentials.Springs),
    "callable": Kind("function of one's own", lambda folder: "python:module_potentials:springs", ("positions",), NM,
                     periodic=False, module=lambda: potentials.springs),
}  # fmt: skip


def missing(kind: Kind) -> str:
    """What is not here, for those that need it; else nothing."""
    if kind.needs == "cp2k" and not SHARED.is_dir():
        return f"the published CP2K models are absent: {SHARED}"
    if kind.needs == "torchmdnet" and find_spec("torchmdnet") is None:
        return "torchmd-net is not installed here"
    return ""


def molecules(kind: Kind, count: int = 3) -> tuple[app.Topology, np.ndarray]:
    """Molecules that are flexible, in a box or in none, and positions (n, 3) in nm."""
    _, positions, _ = torchmdnet_files.water(count, 4.0)
    centres = np.repeat(positions[::3], 3, axis=0)
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(count):
        residue = topology.addResidue("MOL", chain)
        atoms = [topology.addAtom(f"{s}{i}", app.Element.getBySymbol(s), residue) for i, s in enumerate(kind.elements)]
        for other in atoms[1:]:
            topology.addBond(atoms[0], other)
    if kind.periodic:
        topology.setUnitCellDimensions(openmm.Vec3(1, 1, 1) * CELL_NM * unit.nanometer)
    return topology, 0.1 * (centres + kind.stretch * (positions - centres)) + 0.2


def force_field(topology: app.Topology) -> openmm.System:
    """Springs for the bonds, charges and Lennard-Jones."""
    system, bonds, pairs = openmm.System(), openmm.HarmonicBondForce(), openmm.NonbondedForce()
    for atom in topology.atoms():
        system.addParticle(atom.element.mass)
        pairs.addParticle(0.4 if atom.index % 3 else -0.8, 0.3, 0.2)
    ends = [(bond.atom1.index, bond.atom2.index) for bond in topology.bonds()]
    for first, second in ends:
        bonds.addBond(first, second, 0.1, 1e5)
    pairs.createExceptionsFromBonds(ends, 0.0, 0.0)
    if topology.getPeriodicBoxVectors() is not None:
        system.setDefaultPeriodicBoxVectors(*topology.getPeriodicBoxVectors())
        pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
        pairs.setCutoffDistance(0.6)
    system.addForce(bonds)
    system.addForce(pairs)
    return system


def energy_of(system: openmm.System, positions: Any, groups: Any = -1) -> float:
    """Potential energy in kJ/mol."""
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)
    context.setPositions(positions)
    return context.getState(energy=True, groups=groups).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def command(*words: str) -> tuple[int, str]:
    """Exit code and what a command prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        code = main(list(words))
    return code, out.getvalue()


def walk(kind: Kind, folder: Path) -> dict[str, str]:
    """Go every road with a potential: what was found on each, ``yes`` where it is right.

    Parameters
    ----------
    kind : Kind
        The row.
    folder : pathlib.Path
        For files; empty.

    Returns
    -------
    dict of str to str
        By the names of :data:`ROADS`.
    """
    path = kind.make(folder)
    options: dict[str, Any] = dict(zip(("lengthUnit", "energyUnit"), kind.units, strict=False))
    declared = [*(("--module-inputs", *kind.inputs) if kind.inputs else ())]
    units = [*(("--units", *kind.units) if kind.units else ())]
    further = [*(("--committee", *kind.committee) if kind.committee else ())]
    if kind.module is not None:
        potential = openmm_nequip.potential_from(kind.module(), kind.inputs, units=kind.units)
    else:
        options |= {"moduleInputs": kind.inputs} if kind.inputs else {}
        options |= {"committee": list(kind.committee)} if kind.committee else {}
        potential = MLPotential("nequip", modelPath=path, **options)
    topology, positions = molecules(kind)
    structure = folder / "structure.pdb"
    with open(structure, "w") as file:
        app.PDBFile.writeFile(topology, positions * unit.nanometer, file)
    positions = app.PDBFile(str(structure)).getPositions(asNumpy=True)

    system = potential.createSystem(topology)
    energy = energy_of(system, positions)
    allowed = TOLERANCE * len(positions) + LAST_DIGITS * abs(energy)
    found = {"System": "yes" if energy != 0 and abs(energy) < 1e9 else f"{energy} kJ/mol"}

    def same(other: float, expected: float = energy) -> str:
        return "yes" if abs(other - expected) <= allowed else f"{other} instead of {expected} kJ/mol"

    found["XML"] = same(energy_of(openmm_nequip.read_system(openmm.XmlSerializer.serialize(system)), positions))
    found["copy"] = same(energy_of(copy.deepcopy(system), positions))
    code, text = command("energy", path, str(structure), *declared, *units, *further, "--json")
    found["energy"] = same(json.loads(text)["energy_kj_per_mol"]) if code == 0 else f"exit code {code}"
    code, text = command("info", path, *declared, "--json")
    facts = json.loads(text) if code == 0 else {}
    told = bool(facts.get("type_names") or facts.get("module_inputs")) and facts["kind"]
    found["info"] = "yes" if told else f"exit code {code}"
    found["hybrid"] = _mixed(kind, potential, positions, same)
    found["run"], found["restart"] = _runs(
        ["--model", path, "--structure", str(structure), *declared, *units, *further], folder / "run", energy, allowed
    )
    return {road: found[road] for road in ROADS}


def _mixed(kind: Kind, potential: MLPotential, positions: Any, same: Callable[..., str]) -> str:
    """The first molecule by the model: its own energy alone, and without its terms in the force field."""
    topology, alone = molecules(kind)[0], molecules(kind, 1)[0]
    mixed = potential.createMixedSystem(topology, force_field(topology), [0, 1, 2], forceGroup=1)
    bonds = next(force for force in mixed.getForces() if isinstance(force, openmm.HarmonicBondForce))
    if bonds.getNumBonds() != 4:
        return f"{bonds.getNumBonds()} bonds left"
    expected = energy_of(potential.createSystem(alone), positions[:3])
    return same(energy_of(mixed, positions, {1}), expected)


def _runs(words: list[str], output: Path, energy: float, allowed: float) -> tuple[str, str]:
    """Ten steps, and ten more: the energy it starts from, and that the total stays."""
    code, text = command("run", *words, "--output", str(output), *FAST, "--steps", "10")
    if code:
        return f"exit code {code}: {text}", "not tried"
    first = read_log(output / "log.csv")
    code, text = command("run", "--restart", "--output", str(output), "--steps", "20", "--quiet")
    if code:
        return "yes", f"exit code {code}: {text}"
    log = read_log(output / "log.csv")
    total, kinetic = log["total_energy_kj_per_mol"], log["kinetic_energy_kj_per_mol"]
    moved = abs(first["potential_energy_kj_per_mol"][0] - energy)
    drift = max(abs(total - total[0]))
    # The first row is written after five steps, in which potential energy becomes kinetic at most.
    ran = moved <= allowed + kinetic[0] and drift <= allowed + DRIFT * kinetic[0]
    went_on = list(log["step"]) == [5, 10, 15, 20]
    return "yes" if ran else f"total energy off by {drift}", "yes" if went_on else f"rows {list(log['step'])}"


def line(kind: Kind, found: Mapping[str, str]) -> str:
    """A row of the page."""
    return f"| {kind.title} | {' | '.join(found[road] for road in ROADS)} |"


def rows_of(text: str) -> dict[str, str]:
    """Rows of the page by the names of :data:`KINDS`."""
    titles = {kind.title: name for name, kind in KINDS.items()}
    rows = [row for row in text.partition(MARK)[2].splitlines() if row.startswith("| ")][1:]
    return {titles.get(row.split("|")[1].strip(), row): row for row in rows}


def with_rows(text: str, rows: Mapping[str, str]) -> str:
    """The page with other rows."""
    head = f"| potential | {' | '.join(ROADS)} |\n|{'---|' * (len(ROADS) + 1)}"
    before, _, after = text.partition(MARK)
    table = "\n".join([head, *(rows[name] for name in KINDS if name in rows)])
    return f"{before}{MARK}\n{table}\n\n{after.partition(chr(10) * 2)[2]}"


if __name__ == "__main__":
    for name in sys.argv[1:] or KINDS:
        if missing(KINDS[name]):
            sys.exit(missing(KINDS[name]))
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = line(KINDS[name], walk(KINDS[name], Path(scratch)))
        print(made, flush=True)
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_rows(text, rows_of(text) | {name: made}), encoding="utf-8")
