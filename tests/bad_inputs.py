"""The table of bad inputs: what is given, by which road, and the words that its error must have.

Each case is a row: kind, name, a call that gets a :class:`Bench`, and words (a regular expression). Rows are cheap: no
model is compiled, none runs but a Lennard-Jones toy. ``test_bad_inputs.py`` runs them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from conftest import DATA
from openmmml import MLPotential
from test_mixed_standin import dipeptide, vacuum_system
from toy import LennardJones, lattice, make_topology, write_toy

import openmm_nequip
from openmm_nequip import data as shipped
from openmm_nequip.app.cli import main
from openmm_nequip.app.run.run_config import make_config
from openmm_nequip.app.run.settings_file import read_toml
from openmm_nequip.app.structures.structure_files import read_structure
from openmm_nequip.app.structures.typed_box import parse_box
from openmm_nequip.crystal import fromAse
from openmm_nequip.reporters import StressReporter
from openmm_nequip.stress import StressCalculator
from openmm_nequip.units import resolve_units

REGION = list(range(6, 16))  # the alanine of the dipeptide: two cut bonds


class Case(NamedTuple):
    """A row of the table."""

    kind: str
    name: str
    call: Callable[[Bench], Any]
    words: str


class Bench:
    """Where cases are tried: a folder, and a toy model in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.toy = str(write_toy(folder / "toy.nequip.pth"))
        self.potential = MLPotential("nequip", modelPath=self.toy, backend="PythonForce")

    def file(self, name: str, content: bytes | str = b"") -> str:
        """A file with this content."""
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def special(self, kind: str) -> str:
        """Something that is no ordinary file."""
        if kind == "zero":
            return "/dev/zero"
        path = self.folder / kind
        if kind == "fifo" and not path.exists():
            os.mkfifo(path)
        if kind == "folder":
            path.mkdir(exist_ok=True)
        return str(path)

    def script(self, **facts: str) -> str:
        """A TorchScript model that states other facts."""
        path = self.folder / "stated.nequip.pth"
        stated = {"r_max": "9.0", "type_names": "H C", "model_dtype": "float64", "allow_tf32": "0"} | facts
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.script(LennardJones(3.4, 0.01, 9.0))
            torch.jit.save(module, str(path), _extra_files={k: v for k, v in stated.items() if v is not None})
        return str(path)

    def package(self, **facts: str) -> str:
        """The text of an AOTInductor package."""
        path = self.folder / "stated.nequip.pt2"
        stated = {"r_max": "4", "type_names": "H O", "AOTI_DEVICE_KEY": "cpu"} | facts
        with zipfile.ZipFile(path, "w") as archive:
            text = json.dumps({key: value for key, value in stated.items() if value is not None})
            archive.writestr("model/data/aotinductor/model/model_metadata.json", text)
        return str(path)

    def system(self, **options: Any) -> openmm.System:
        """A pure System of two atoms."""
        return self.potential.createSystem(make_topology(["H", "C"]), **options)

    def mixed(self, atoms: Any = None, **options: Any) -> Any:
        """A hybrid System."""
        atoms = REGION if atoms is None else atoms
        return openmm_nequip.create_mixed_system(dipeptide()[0], vacuum_system(), atoms, self.toy, **options)

    def command(self, *given: str) -> None:
        """A command line; what it ends with is raised: its last line, where it says that it failed."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                code: Any = main([str(word) for word in given])
            except SystemExit as ended:
                code = ended.code
        if code:
            raise RuntimeError(next((line for line in reversed(said.getvalue().splitlines()) if line.strip()), ""))

    def run(self, **settings: Any) -> Any:
        """Settings of a run."""
        return make_config({"model": self.toy, "structure": "x.pdb", "output": "out", **settings})

    def at(self, positions: Any, box: Any = None, symbols: Any = ("H", "C"), **parameters: float) -> float:
        """Energy through OpenMM."""
        system = self.potential.createSystem(make_topology(list(symbols), None if box is None else np.eye(3) * 2))
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
        if box is not None:
            context.setPeriodicBoxVectors(*np.asarray(box, dtype=float))
        context.setPositions(np.asarray(positions, dtype=float))
        return context.getState(getEnergy=True).getPotentialEnergy()._value


def flipped(content: bytes, number: int) -> bytes:
    """An archive with another bit in the middle of one of its largest entries."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entry = sorted(archive.infolist(), key=lambda each: -each.compress_size)[number]
    names = sum(
        int.from_bytes(content[entry.header_offset + k : entry.header_offset + k + 2], "little") for k in (26, 28)
    )
    spoiled = bytearray(content)
    spoiled[entry.header_offset + 30 + names + entry.compress_size // 2] ^= 4
    return bytes(spoiled)


def model_files() -> list[Case]:
    """Files that are no models, and models that cannot be."""
    rows: list[tuple[str, Callable[[Bench], Any], str]] = [
        ("missing", lambda b: openmm_nequip.load_model(b.folder / "none.pth"), "does not exist; check the path"),
        ("empty path", lambda b: openmm_nequip.load_model(""), "modelPath='' is no path"),
        ("no path", lambda b: openmm_nequip.load_model(None), "modelPath=None is no path"),
        ("number", lambda b: openmm_nequip.load_model(5), "modelPath=5 is no path"),
        ("bytes", lambda b: openmm_nequip.load_model(b"x.pth"), "modelPath=b'x.pth' is no path"),
        ("list", lambda b: openmm_nequip.load_model([5]), "modelPath=5 is no path; give a model file"),
        ("null in path", lambda b: openmm_nequip.load_model("a\0b"), "cannot be read: embedded null"),
        ("long path", lambda b: openmm_nequip.load_model("x" * 5000), "cannot be read: File name too long"),
        ("file as folder", lambda b: openmm_nequip.load_model(b.toy + "/x"), "cannot be read: Not a directory"),
        ("bad id", lambda b: openmm_nequip.load_model("nequip.net:"), "nequip.net:"),
        ("empty", lambda b: openmm_nequip.load_model(b.file("empty.ckpt")), "is empty; expected a nequip checkpoint"),
        ("text", lambda b: openmm_nequip.load_model(b.file("t.ckpt", "hello")), "no zip archive .*not a model"),
        ("pickle", lambda b: openmm_nequip.load_model(b.file("p.ckpt", b"\x80\x04N.")), "a bare pickle, not a model"),
        ("zip header alone", lambda b: openmm_nequip.load_model(b.file("z", b"PK\x03\x04" * 9)), "truncated|damaged"),
        ("empty zip", lambda b: openmm_nequip.load_model(b.file("e", b"PK\x05\x06" + bytes(18))), "not a model"),
    ]
    for kind, words in (("fifo", "is a named pipe"), ("zero", "is a device"), ("folder", "is a folder")):
        rows.append((kind, lambda b, kind=kind: openmm_nequip.load_model(b.special(kind)), words))
        rows.append(
            (f"{kind}, constructor", lambda b, kind=kind: MLPotential("nequip", modelPath=b.special(kind)), words)
        )
    for suffix in ("ckpt", "nequip.zip", "nequip.pth"):
        content = (DATA / f"tiny-nequip.{suffix}").read_bytes()
        for share in (0.1, 0.5, 0.9, 0.999):
            rows.append(
                (
                    f"{suffix} cut at {share}",
                    lambda b, c=content, s=share, x=suffix: openmm_nequip.load_model(
                        b.file(f"cut.{x}", c[: int(len(c) * s)])
                    ),
                    "is truncated|is damaged",
                )
            )
        for number in range(4):
            rows.append(
                (
                    f"{suffix} flipped in entry {number}",
                    lambda b, c=content, n=number, x=suffix: openmm_nequip.load_model(
                        b.file(f"flip.{x}", flipped(c, n))
                    ),
                    "is damaged .*; copy it again",
                )
            )
    for fact, value, words in (
        ("r_max", "-4", r"the cutoff -4.0; expected a positive"),
        ("r_max", "nan", "the cutoff nan; expected a positive"),
        ("r_max", "inf", "the cutoff inf; expected"),
        ("r_max", "0", "the cutoff 0.0; expected"),
        ("r_max", "four", "r_max = 'four'; expected a number"),
        ("r_max", None, "lacks the extra files r_max"),
        ("type_names", "", "lacks the extra files type_names|no atom types"),
        ("type_names", " ", "no atom types|lacks the extra files type_names"),
        ("type_names", None, "lacks the extra files type_names"),
        ("type_names", "H H", "the type 'H' twice"),
        ("type_names", "H C H", "the type 'H' twice"),
        ("model_dtype", "float16", "states dtype 'float16'; expected"),
        ("model_dtype", "int", "states dtype 'int'"),
        ("per_edge_type_cutoff", "1 2 3", "has 3 numbers; expected 4"),
        ("per_edge_type_cutoff", "1 2 3 x", "per_edge_type_cutoff = 'x'; expected a number"),
        ("per_edge_type_cutoff", "1 2 3 10", "the cutoff 10.0 for a pair of types"),
        ("per_edge_type_cutoff", "1 2 3 -1", "the cutoff -1.0 for a pair of types"),
        ("per_edge_type_cutoff", "1 2 3 nan", "the cutoff nan for a pair of types"),
        ("per_edge_type_cutoff", "1 2 3 0", "the cutoff 0.0 for a pair of types"),
    ):
        for road in ("load_model", "createSystem"):

            def call(b: Bench, fact: str = fact, value: Any = value, road: str = road) -> Any:
                path = b.script(**{fact: value})
                if road == "load_model":
                    return openmm_nequip.load_model(path)
                return MLPotential("nequip", modelPath=path).createSystem(make_topology(["H", "C"]))

            rows.append((f"TorchScript {fact} {value}, {road}", call, words))
    for fact, value, words in (
        ("r_max", "-4", "cutoff -4.0"),
        ("r_max", "nan", "cutoff nan"),
        ("r_max", None, "no r_max in it"),
        ("type_names", "H H", "the type 'H' twice"),
        ("type_names", "", "no atom types"),
        ("AOTI_DEVICE_KEY", "cuda", "compiled for 'cuda' and cannot run on 'cpu'"),
        ("AOTI_DEVICE_KEY", "toaster", "compiled for 'toaster'"),
        ("nequip_aoti_outputs", "total_energy", "energy and forces are needed"),
        ("nequip_aoti_inputs", "pos edge_index", "compiled for ghost atoms"),
    ):
        rows.append(
            (
                f"AOTInductor {fact} {value}",
                lambda b, f=fact, v=value: openmm_nequip.load_model(b.package(**{f: v})),
                words,
            )
        )
    return [Case("model files", *row) for row in rows]


#: Values of options, and the words of their errors.
OPTION_VALUES: dict[str, list[tuple[Any, str]]] = {
    "atomTypes": [
        ("HC", "atomTypes='HC' is no list"),
        (5, "atomTypes=5 is no list"),
        ([0], "has 1 entries; expected one for each"),
        ([0, 9], r"atomTypes\[1\]=9 is no type"),
        ([0, -1], r"atomTypes\[1\]=-1"),
        ([0, 1.5], r"atomTypes\[1\]=1.5"),
        ([0, "Xe"], r"atomTypes\[1\]='Xe'"),
        ([0, None], r"atomTypes\[1\]=None"),
        ([0, True], r"atomTypes\[1\]=True"),
        ([0, [1]], r"atomTypes\[1\]=\[1\]"),
        ([0, float("nan")], r"atomTypes\[1\]=nan"),
        ([], "has 0 entries"),
        ([0, float("inf")], r"atomTypes\[1\]=inf"),
    ],
    "backend": [("", "backend=''"), ("pythonforce", "use one of auto"), (None, "backend=None"), (True, "backend=True")],
    "compile": [("yes", "compile='yes' is neither"), (1, "compile=1 is neither"), ("", "compile=''")],
    "cudaGraphs": [("on", "cudaGraphs='on'"), (1, "cudaGraphs=1"), (None, "cudaGraphs=None")],
    "declareMolecules": [("no", "declareMolecules='no'"), (0, "declareMolecules=0"), (None, "declareMolecules=None")],
    "device": [
        ("tpu", "device='tpu' is no torch device"),
        ("cuda:99", "is not there|not there"),
        ("", "device=''"),
        ("mps", "is not supported"),
        (3.5, "device='3.5'"),
        (-1, "device='-1'"),
        ("cpu:x", "device='cpu:x'"),
    ],
    "embedModel": [("no", "embedModel='no'"), (1, "embedModel=1"), (None, "embedModel=None")],
    "energyScale": [
        (0, "energyScale=0 must be a positive"),
        (-1, "energyScale=-1"),
        ("1", "energyScale='1'"),
        (float("nan"), "energyScale=nan"),
        (True, "energyScale=True"),
    ],
    "energyUnit": [
        ("joule", "'joule' is not a known unit"),
        ("", "energyUnit=''"),
        (unit.meter, "not convertible"),
        (5, "energyUnit=5"),
    ],
    "kernels": [
        ("Fused", "kernels='Fused' is unknown"),
        (True, "kernels=True"),
        (None, "kernels=None"),
        ("", "kernels=''"),
    ],
    "lengthScale": [
        (0, "lengthScale=0 must be"),
        (float("inf"), "lengthScale=inf"),
        ("nm", "lengthScale='nm'"),
        (np.array([1.0]), "lengthScale="),
    ],
    "lengthUnit": [
        ("parsec", "not a known unit"),
        (unit.kelvin, "not convertible"),
        ("", "lengthUnit=''"),
        (0, "lengthUnit=0"),
    ],
    "modifiers": [
        ("enable_X", "give a list of names"),
        ([1], r"modifiers=\[1\]"),
        (5, "modifiers=5"),
        (["enable_OpenEquivariance"], "applied before a model is compiled"),
    ],
    "precision": [
        ("half", "precision='half'"),
        ("single", "computes in float64"),
        (64, "precision=64"),
        ("", "precision=''"),
    ],
    "properties": [
        ({"a": "b"}, "a TorchForce has no a"),
        ({"useCUDAGraphs": True}, "give a dict of texts"),
        ("useCUDAGraphs", "give a dict of texts"),
        ({"useCUDAGraphs": "true"}, "belong to TorchForce"),
    ],
    "skin": [
        (True, "skin=True is not a length"),
        ("0.1", "skin='0.1' is not a length"),
        (-0.1, "finite length >= 0"),
        (float("nan"), "finite length >= 0"),
        (float("inf"), "finite length"),
        (1e6, "give at most 5 nm"),
        (1 * unit.kelvin, "is not a length"),
        (10 * unit.meter, "give at most 5 nm"),
        ([0.1], "is not a length"),
        ({}, "is not a length"),
    ],
    "tables": [("yes", "tables='yes'"), (None, "tables=None"), (1, "tables=1")],
    "trusted": [
        ("", "is no SHA-256"),
        ("0" * 64, "is not the trusted one"),
        ("sha256:" + "0" * 64, "is no SHA-256"),
        (0, "trusted=0 is no SHA-256"),
    ],
}


def options() -> list[Case]:
    """Options of a potential, given to its constructor and to createSystem."""
    rows = []
    for option, values in OPTION_VALUES.items():
        for value, words in values:
            rows.append((f"{option}={value!r}", lambda b, o=option, v=value: b.system(**{o: v}), words))
    for option in ("skin", "compile", "kernels", "device", "trusted", "lengthUnit"):
        value, words = OPTION_VALUES[option][0]

        def at_once(b: Bench, option: str = option, value: Any = value) -> Any:
            return MLPotential("nequip", modelPath=b.toy, **{option: value})

        rows.append((f"constructor, {option}={value!r}", at_once, words))
    for option in (
        "rule",
        "positions",
        "linkElement",
        "linkType",
        "linkCharge",
        "splitRegions",
        "keepForces",
        "cutoff_nm",
        "forceFieldForces",
        "referenceSystem",
        "lambdaName",
        "mlLongRange",
        "allowSharedCaps",
    ):
        rows.append(
            (f"pure System, {option}", lambda b, o=option: b.system(**{o: "H"}), f"does not know {option}: hybrid")
        )
    rows += [
        ("misspelt", lambda b: b.system(skinn=0.1), "createSystem does not know skinn; its keywords are"),
        (
            "misspelt, constructor",
            lambda b: MLPotential("nequip", modelPath=b.toy, atomtypes=[]),
            "does not know atomtypes",
        ),
        ("misspelt, hybrid", lambda b: b.mixed(skinn=1), "create_mixed_system does not know skinn"),
        ("no model", lambda b: MLPotential("nequip"), "needs modelPath="),
        ("name in capitals", lambda b: MLPotential("Nequip", modelPath=b.toy), "did you mean 'nequip'"),
        (
            "unknown name",
            lambda b: MLPotential("allegro", modelPath=b.toy),
            "'allegro' is unknown; The names are .*nequip",
        ),
        (
            "embedding",
            lambda b: b.potential.createMixedSystem(dipeptide()[0], vacuum_system(), REGION, embedding="electrostatic"),
            "embedding='electrostatic' is unknown; The names are mechanical",
        ),
        (
            "embedding None",
            lambda b: b.potential.createMixedSystem(dipeptide()[0], vacuum_system(), REGION, embedding=None),
            "embedding=None is unknown",
        ),
        ("two units", lambda b: b.system(lengthUnit="nm", lengthScale=1.0), "give only one"),
        ("two energies", lambda b: b.system(energyUnit="eV", energyScale=1.0), "give only one"),
        ("modifiers and fused", lambda b: b.system(modifiers=["a"], kernels="fused"), "exclude each other"),
        ("graphs on a CPU", lambda b: b.system(cudaGraphs=True, device="cpu"), "only CUDA devices have CUDA graphs"),
        ("fused on a GPU", lambda b: b.system(kernels="fused", device="cuda"), "cuda"),
        ("unit", lambda b: resolve_units("furlong"), "not a known unit"),
        (
            "modifier of a checkpoint",
            lambda b: openmm_nequip.load_model(DATA / "tiny-nequip.ckpt", modifiers=["enable_Speed"]),
            "has no 'enable_Speed'; it has",
        ),
        (
            "modifier of a package",
            lambda b: openmm_nequip.load_model(DATA / "tiny-nequip.nequip.zip", modifiers=["fast"]),
            "has no 'fast'; it has",
        ),
    ]
    return [Case("options", *row) for row in rows]


def hybrids() -> list[Case]:
    """Selections and options of hybrid Systems."""
    rows: list[tuple[str, Callable[[Bench], Any], str]] = []
    for name, atoms, words in (
        ("nothing", [], "no atoms"),
        ("text that matches nothing", "resname XYZ", "matches none"),
        ("text that is none", "resname is not", "cannot read the selection"),
        ("negative", [-1], "out of range"),
        ("too large", [22], "out of range"),
        ("twice", [1, 1], "more than once"),
        ("float", [1.5], "is not an atom index"),
        ("mask", [True, False], "is not an atom index"),
        ("number", 3, "atoms is 3"),
        ("None inside", [None], "None"),
        ("names", ["CA"], "CA"),
        ("overlap", [[1, 2], [2, 3]], "is in region 0 and in region 1"),
        ("mixed", [1, [2]], "mixes single atoms"),
        ("dict", {"a": 1}, "'a'|a"),
        ("huge", [10**30], "out of range|index"),
    ):
        rows.append((f"selection: {name}", lambda b, a=atoms: b.mixed(a), words))
    for option, value, words in (
        ("rule", "charmm", "rule is 'charmm'. Expected one of"),
        ("rule", None, "rule is None"),
        ("rule", True, "rule is True"),
        ("linkCharge", "shift", "linkCharge is 'shift'"),
        ("linkElement", "Hydrogen", "no chemical symbol"),
        ("linkElement", 1, "linkElement is 1"),
        ("linkElement", "", "linkElement is ''"),
        ("interpolate", "yes", "interpolate is 'yes'"),
        ("interpolate", 1, "interpolate is 1"),
        ("removeConstraints", "no", "removeConstraints is 'no'"),
        ("splitRegions", "no", "splitRegions is 'no'"),
        ("allowSharedCaps", 0, "allowSharedCaps is 0"),
        ("removeRestraints", "x", "removeRestraints is 'x'"),
        ("mlLongRange", "no", "mlLongRange is 'no'"),
        ("mlLongRange", 0, "mlLongRange is 0"),
        ("forceGroup", 32, "forceGroup is 32"),
        ("forceGroup", -1, "forceGroup is -1"),
        ("forceGroup", 1.0, "forceGroup is 1.0"),
        ("forceGroup", True, "forceGroup is True"),
        ("lambdaName", "1x", "lambdaName is '1x'"),
        ("lambdaName", "", "lambdaName is ''"),
        ("lambdaName", 5, "lambdaName is 5"),
        ("cutoff_nm", -1.0, "cutoff_nm is -1.0"),
        ("cutoff_nm", "x", "cutoff_nm is 'x'"),
        ("cutoff_nm", True, "cutoff_nm is True"),
        ("cutoff_nm", float("nan"), "cutoff_nm is nan"),
        ("positions", np.zeros((3, 3)), r"shape \(3, 3\)"),
        ("positions", "here", "positions"),
        ("positions", 5, "positions"),
        ("positions", np.full((22, 3), np.nan), "not finite"),
        ("positions", np.zeros((22, 3)) * unit.kelvin, "positions"),
        ("positions", [[0, 0]] * 22, "positions"),
        ("linkAtomDistances", 5, "linkAtomDistances"),
        ("linkAtomDistances", [(4, 6)], "Expected .atom, atom"),
        ("linkAtomDistances", [(4, 6, 1.09)], "angstrom need their unit"),
        ("linkAtomDistances", [(0, 1, 0.1)], "no cut bond"),
        ("linkAtomDistances", [(4, 6, -0.1)], "bond length"),
        ("linkAtomDistances", [(4, 6, "x")], "Expected .atom, atom"),
        ("keepForces", ["Bonds"], "names the force 'Bonds'"),
        ("keepForces", [99], "names the force 99"),
        ("keepForces", 1.5, "keepForces"),
        ("forceFieldForces", [None], "forceFieldForces"),
        ("referenceSystem", openmm.System(), "without interpolate=True"),
        ("referenceSystem", "x", "referenceSystem"),
        ("forceClasses", [], "forceClasses is"),
        ("linkType", "Xe", "linkType"),
        ("linkType", 99, "linkType"),
        ("linkType", True, "linkType=True"),
        ("atomTypes", [0], "has 1 entries"),
        ("trusted", "0" * 64, "not the trusted one"),
    ):
        rows.append(
            (
                f"{option}={type(value).__name__} {str(value)[:20]!r} {len(str(value))}",
                lambda b, o=option, v=value: b.mixed(**{o: v}),
                words,
            )
        )
    rows += [
        (
            "other topology",
            lambda b: openmm_nequip.create_mixed_system(make_topology(["H"]), vacuum_system(), [0], b.toy),
            "Expected the same|atoms, the System",
        ),
        (
            "two models, one region",
            lambda b: openmm_nequip.create_mixed_system(dipeptide()[0], vacuum_system(), REGION, [b.toy, b.toy]),
            "2 models were given for 1 regions",
        ),
        (
            "no models",
            lambda b: openmm_nequip.create_mixed_system(dipeptide()[0], vacuum_system(), REGION, []),
            "modelPath",
        ),
    ]
    return [Case("hybrid Systems", *row) for row in rows]


def settings() -> list[Case]:
    """Settings of a run, from the command line, TOML or Python."""
    rows: list[tuple[str, Callable[[Bench], Any], str]] = []
    for name, value, words in (
        ("steps", 10**30, "it must be 1e.12 or less"),
        ("steps", -1, "must be 0 or more"),
        ("steps", 1.5, "a whole number"),
        ("steps", "many", "a whole number"),
        ("steps", True, "a whole number"),
        ("equilibrate", -5, "0 or more"),
        ("equilibrate", 10**15, "or less"),
        ("timestep", 0, "more than 0"),
        ("timestep", -1.0, "more than 0"),
        ("timestep", [0.5], "give a number"),
        ("timestep", float("nan"), "finite"),
        ("timestep", "1 fs", "give a number"),
        ("timestep", 10**400, "a number that a computer can hold"),
        ("temperature", 0, "more than 0"),
        ("temperature", float("inf"), "finite"),
        ("temperature", 1e9, "or less"),
        ("temperature", None, None),
        ("pressure", "high", "give a number"),
        ("pressure", float("nan"), "finite"),
        ("friction", -1, "0 or more"),
        ("friction", 1e9, "or less"),
        ("seed", -1, "0 or more"),
        ("seed", 2**40, "or less"),
        ("seed", "x", "whole number"),
        ("threads", 100_000, "or less"),
        ("threads", 0, "1 or more"),
        ("threads", 2.0, "whole number"),
        ("report-interval", 0, "1 or more"),
        ("report-interval", 10**20, "or less"),
        ("checkpoint-interval", -3, "1 or more"),
        ("ensemble", "npe", "use one of nve, nvt, npt"),
        ("ensemble", "NVT", "use one of"),
        ("ensemble", 3, "give a text"),
        ("trajectory", "pdb", "use one of dcd"),
        ("box", [1, "x", 3], "list of numbers"),
        ("box", [], "list of numbers"),
        ("box", 5.0, "list of numbers"),
        ("units", ["nm"], "give two"),
        ("units", "nm", "list of names"),
        ("types", "H", "list of names"),
        ("types", [1.5], "list of names"),
        ("forcefield", [], "list of names"),
        ("minimize", "yes", "true or false"),
        ("minimize", 1, "true or false"),
        ("compile", "no", "true or false"),
        ("tables", 0, "true or false"),
        ("kernels", "fast", "use one of"),
        ("backend", "Torch", "use one of"),
        ("cuda-graphs", "yes", "use one of"),
        ("bonds", "all", "use one of"),
        ("rule", "x", "use one of"),
        ("frame", 1.5, "whole number"),
        ("frame", "last", "whole number"),
        ("solvate", 0, "more than 0"),
        ("solvate", -1.0, "more than 0"),
        ("solvate", "1nm", "give a number"),
        ("platform", 3, "give a text"),
        ("device", 1, "give a text"),
        ("model", 5, "give a text"),
        ("structure", ["a"], "give a text"),
        ("output", 3, "give a text"),
        ("ml-atoms", 5, "give a text"),
        ("modifiers", "a", "list of names"),
        ("trusted", 5, "give a text"),
        ("stepz", 5, "setting 'stepz' is unknown"),
        ("Steps", 5, "is unknown"),
    ):
        if words is not None:
            rows.append((f"{name}={str(value)[:20]}", lambda b, n=name, v=value: b.run(**{n: v}), words))
    rows += [
        ("no model", lambda b: make_config({"structure": "a", "output": "b"}), "a run needs --model"),
        ("nothing", lambda b: make_config({}), "a run needs --model, --structure, --output"),
        ("TOML missing", lambda b: read_toml(b.folder / "none.toml"), "does not exist"),
        ("TOML folder", lambda b: read_toml(b.special("folder")), "is a folder"),
        ("TOML pipe", lambda b: read_toml(b.special("fifo")), "is a named pipe"),
        ("TOML device", lambda b: read_toml("/dev/zero"), "is a device"),
        ("TOML text", lambda b: read_toml(b.file("a.toml", "steps: 5")), "is no TOML"),
        ("TOML twice", lambda b: read_toml(b.file("b.toml", "steps = 1\nsteps = 2")), "is no TOML"),
        ("TOML bytes", lambda b: read_toml(b.file("c.toml", b"\xff\xfe")), "is no TOML"),
        ("TOML key", lambda b: read_toml(b.file("d.toml", "stepz = 1")), "unknown key 'stepz'"),
        ("TOML table", lambda b: read_toml(b.file("e.toml", "[run]\nsteps = 1")), "unknown key 'run'"),
    ]
    return [Case("settings of a run", *row) for row in rows]


PDB = "ATOM  {:>5} {:<4} MOL A   1    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00          {:>2}\n"


def pdb(*atoms: tuple[Any, ...]) -> str:
    return "".join(PDB.format(i + 1, *atom) for i, atom in enumerate(atoms)) + "END\n"


def structures() -> list[Case]:
    """Structure files."""
    two = (("H1", 0, 0, 0, "H"), ("C1", 1, 0, 0, "C"))
    first = "".join(PDB.format(i + 1, *atom) for i, atom in enumerate(two))
    unequal = f"MODEL        1\n{first}ENDMDL\nMODEL        2\n{PDB.format(1, *two[0])}ENDMDL\nEND\n"
    good = pdb(*two)
    rows: list[tuple[str, Callable[[Bench], Any], str]] = [
        ("missing", lambda b: read_structure(b.folder / "none.pdb"), "does not exist; check the path"),
        ("folder", lambda b: read_structure(b.special("folder")), "is a folder"),
        ("pipe", lambda b: read_structure(b.special("fifo")), "is a named pipe"),
        ("device", lambda b: read_structure("/dev/zero"), "is a device"),
        (
            "unequal models",
            lambda b: read_structure(b.file("u.pdb", unequal)),
            "its model 1 has 1 atoms and its first 2",
        ),
        ("frame", lambda b: read_structure(b.file("f.pdb", good), frame=5), "frame 5 was asked for, but there are 1"),
        ("frame before", lambda b: read_structure(b.file("f.pdb", good), frame=-2), "frame -2 was asked for"),
        ("NaN", lambda b: read_structure(b.file("n.xyz", "1\n\nH nan 0 0\n")), "NaN or infinite, of the atoms 0"),
        ("infinite", lambda b: read_structure(b.file("i.xyz", "1\n\nH inf 0 0\n")), "NaN or infinite"),
        ("flat box", lambda b: read_structure(b.file("f.pdb", good), box=[5, 0, 0, 0, 5, 0, 5, 5, 0]), "has no volume"),
        ("negative box", lambda b: read_structure(b.file("f.pdb", good), box=[-1, 1, 1]), "must be positive"),
        ("zero box", lambda b: read_structure(b.file("f.pdb", good), box=[0, 1, 1]), "must be positive"),
        ("box of two", lambda b: read_structure(b.file("f.pdb", good), box=[1, 1]), "box has 2 numbers"),
        ("NaN box", lambda b: read_structure(b.file("f.pdb", good), box=[float("nan"), 1, 1]), "positive|no volume"),
        (
            "slab",
            lambda b: read_structure(
                b.file(
                    "s.extxyz", '1\nLattice="9 0 0 0 9 0 0 0 9" pbc="T T F" Properties=species:S:1:pos:R:3\nH 0 0 0\n'
                )
            ),
            "periodic in some directions only",
        ),
        ("atom X", lambda b: read_structure(b.file("x.xyz", "1\n\nZz 0 0 0\n")), "cannot be read as .xyz"),
    ]
    for name, content in (
        ("empty.pdb", ""),
        ("empty.xyz", ""),
        ("empty.gro", ""),
        ("empty.cif", ""),
        ("empty.extxyz", ""),
        ("text.pdb", "hello\n"),
        ("text.xyz", "hello\n"),
        ("text.gro", "hello\nworld\n"),
        ("text.cif", "data_x\n"),
        ("text.vasp", "hello"),
        ("bytes.pdb", "\x00\x01\x02"),
        ("short.xyz", "3\n\nH 0 0 0\n"),
        ("letters.xyz", "1\n\nH a b c\n"),
        ("count.xyz", "-1\n\n"),
        ("short.gro", "t\n5\n    1MOL      H    1   0 0 0\n"),
        ("none.foo", "x"),
        ("nosuffix", "x"),
        ("noatoms.gro", "t\n0\n 1 1 1\n"),
        ("zero.xyz", "0\n\n"),
        ("cut.pdb", "ATOM      1  H   MOL A   1       0.0"),
        ("words.pdb", "ATOM  xxxxx  H   MOL A   1       a       b\n"),
        ("poscar.POSCAR", "x\n1.0\n1 0 0\n"),
        ("loop.mmcif", "data_x\nloop_\n_atom_site.id\n"),
    ):
        rows.append(
            (name, lambda b, n=name, c=content: read_structure(b.file(n, c)), f"structure file .*{name.split('.')[0]}")
        )
    return [Case("structure files", *row) for row in rows]


def evaluations() -> list[Case]:
    """Topologies, boxes and positions."""
    pair = [[0, 0, 0], [0.3, 0, 0]]
    rows: list[tuple[str, Callable[[Bench], Any], str]] = [
        (
            "unknown element",
            lambda b: b.potential.createSystem(make_topology(["H", "Xe"])),
            "atom 1 .* is Xe, which the model",
        ),
        ("NaN", lambda b: b.at([[0, 0, 0], [np.nan, 0, 0]]), "NaN"),
        ("infinite", lambda b: b.at([[0, 0, 0], [np.inf, 0, 0]]), "NaN or infinite|infinite"),
        ("far away", lambda b: b.at([[0, 0, 0], [2e9, 0, 0]], np.eye(3) * 2), "more than .* from the origin"),
        ("farther", lambda b: b.at([[0, 0, 0], [0, 1e15, 0]], np.eye(3) * 2), "more than .* from the origin"),
        ("tiny box", lambda b: b.at(pair, np.eye(3) * 1e-4), "no matter is so dense"),
        ("thin box", lambda b: b.at(pair, np.diag([500.0, 500.0, 1e-4])), "no matter is so dense"),
        ("typed box", lambda b: parse_box([0.01, 0.01, 0.01]), "is smaller than an atom"),
        ("typed box of nine", lambda b: parse_box([1, 0, 0, 0, 1, 0, 0, 0, 1]), "stands for no box"),
        (
            "thick skin",
            lambda b: b.potential.createSystem(make_topology(["H", "C"] * 2000, np.eye(3) * 3.4), skin=5.0),
            "neighbours each within the cutoff and skin",
        ),
        (
            "no volume",
            lambda b: b.potential.createSystem(make_topology(["H"], np.diag([2.0, 2.0, 0.0]))),
            "reduced form|no volume",
        ),
        (
            "not reduced",
            lambda b: b.potential.createSystem(
                make_topology(["H"], np.array([[2.0, 0, 0], [1.5, 2.0, 0], [0, 0, 2.0]]))
            ),
            "in reduced form",
        ),
    ]
    for value in (-0.1, 1.1, float("nan"), 2.0, float("inf")):

        def interpolated(b: Bench, value: float = value) -> Any:
            topology, positions = dipeptide()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mixed = openmm_nequip.create_mixed_system(
                    topology, vacuum_system(), REGION, b.toy, interpolate=True, backend="PythonForce"
                )
            platform = openmm.Platform.getPlatformByName("Reference")
            context = openmm.Context(mixed.system, openmm.VerletIntegrator(0.001), platform)
            context.setPositions(positions)
            context.setParameter("lambda_interpolate", value)
            return context.getState(getEnergy=True)

        rows.append((f"lambda {value}", interpolated, "lambda_interpolate is .*; expected a number from 0 .* to 1"))
    return [Case("evaluation", *row) for row in rows]


def saved() -> list[Case]:
    """Saved Systems and what simulations are followed with."""
    box = lattice(2)[1]

    def periodic(b: Bench) -> openmm.System:
        return b.potential.createSystem(make_topology(["H"] * 8, box))

    rows: list[tuple[str, Callable[[Bench], Any], str]] = [
        ("missing", lambda b: openmm_nequip.read_system(b.folder / "none.xml"), "No such file|does not exist"),
        ("folder", lambda b: openmm_nequip.read_system(b.special("folder")), "is a folder"),
        ("pipe", lambda b: openmm_nequip.read_system(b.special("fifo")), "is a named pipe"),
        ("device", lambda b: openmm_nequip.read_system("/dev/zero"), "is a device"),
        ("bytes", lambda b: openmm_nequip.read_system(b.file("a.xml", b"\xff\xfe\x00")), "is no XML"),
        ("empty", lambda b: openmm_nequip.read_system(b.file("b.xml", "")), "no XML"),
        ("half", lambda b: openmm_nequip.read_system("<System"), "no XML of a System"),
        (
            "entities",
            lambda b: openmm_nequip.read_system('<!DOCTYPE a [<!ENTITY b "c">]><System/>'),
            "declares entities",
        ),
        ("State", lambda b: openmm_nequip.read_system("<State/>"), "System"),
        ("other XML", lambda b: openmm_nequip.read_system("<html></html>"), "System"),
        ("stress, open", lambda b: StressCalculator(b.system()), "no periodic force"),
        ("stress, scaled", lambda b: StressCalculator(periodic(b), scaled="residues"), "scaled='residues' is unknown"),
        ("reporter, interval", lambda b: StressReporter(b.folder / "s.csv", 0), "interval=0: expected"),
        ("reporter, keyword", lambda b: StressReporter(b.folder / "s.csv", 1, scale="atoms"), "does not know scale"),
        ("reporter, scaled", lambda b: StressReporter(b.folder / "s.csv", 1, scaled="x"), "scaled='x' is unknown"),
    ]
    return [Case("saved Systems and reporters", *row) for row in rows]


def crystals() -> list[Case]:
    """ASE's atoms as crystals."""
    from ase import Atoms

    cell = np.eye(3) * 4.0
    rows: list[tuple[str, Callable[[Bench], Any], str]] = [
        ("open", lambda b: fromAse(Atoms("Ar", cell=cell)), "periodic"),
        ("slab", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=[1, 1, 0])), "periodic"),
        ("flat", lambda b: fromAse(Atoms("Ar", cell=np.diag([4.0, 4.0, 0.0]), pbc=True)), "volume"),
        ("NaN", lambda b: fromAse(Atoms("Ar", positions=[[np.nan, 0, 0]], cell=cell, pbc=True)), "finite|NaN"),
        ("no atoms", lambda b: fromAse(Atoms(cell=cell, pbc=True)), "no atoms|atoms"),
        ("supercell 0", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=True), (0, 1, 1)), "supercell"),
        ("supercell negative", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=True), -1), "supercell"),
        ("supercell of two", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=True), (1, 2)), "supercell"),
        ("supercell 1.5", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=True), (1.5, 1, 1)), "supercell"),
        ("supercell text", lambda b: fromAse(Atoms("Ar", cell=cell, pbc=True), "222"), "supercell"),
    ]
    return [Case("crystals", *row) for row in rows]


def commands() -> list[Case]:
    """The command line: places to write to, frames, options of each command, files of settings."""
    energies = '2\nProperties=species:S:1:pos:R:3:forces:R:3 energy={}\nH 0 0 0 0 0 0\nC 1.5 0 0 0 0 0\n'
    pair = pdb(("H1", 0, 0, 0, "H"), ("C1", 1.5, 0, 0, "C"))
    rows: list[tuple[str, Callable[[Bench], Any], str]] = []

    def add(words: str, *given: str, name: str = "", **files: Any) -> None:
        """A command line; TOY, FRAMES, PAIR, FOLDER, PIPE and names of files stand for paths."""

        def call(b: Bench) -> None:
            places = {
                "TOY": b.toy, "FRAMES": b.file("frames.extxyz", energies.format("-1.0")), "PIPE": b.special("fifo"),
                "PAIR": b.file("p.pdb", pair), "INSIDE": b.file("p.pdb", pair) + "/x", "FOLDER": b.special("folder"),
                "NOWHERE": str(b.folder / "no" / "x.csv"), "CKPT": str(DATA / "tiny-nequip.ckpt"),
            }  # fmt: skip
            places |= {key: b.file(f"{key}.{kind}", text) for key, (kind, text) in files.items()}
            b.command(*[places.get(word, word) for word in given])

        rows.append((name or " ".join(given), call, words))

    for words, *frames in (
        ("frames '': give all, a number, or a range", "energy", ""),
        ("frames '1:2:3:4'", "test", "1:2:3:4"),
        ("frames '::0'", "energy", "::0"),
        ("frames '1.5'", "test", "1.5"),
        ("has 1 frames, and --frames 5 is none", "test", "5"),
        ("has 1 frames, and --frames 10:5 is none", "energy", "10:5"),
    ):
        add(words, frames[0], "TOY", "FRAMES", "--frames", frames[1])
    add("is there and is no ordinary file", "energy", "TOY", "FRAMES", "--frames", "all", "--csv", "FOLDER")
    add("the folder .* does not exist", "energy", "TOY", "FRAMES", "--frames", "all", "--csv", "NOWHERE")
    add("--csv '' is no name", "energy", "TOY", "FRAMES", "--frames", "all", "--csv", "")
    add("belongs to --frames", "energy", "TOY", "FRAMES", "--energy-key", "e")
    add("--energy-key 'e': no frame .* has it; its frames have", "energy", "TOY", "FRAMES", "--frames", "all",
        "--energy-key", "e")  # fmt: skip
    add("--energy-key 'e': no frame", "test", "TOY", "FRAMES", "--energy-key", "e")
    add("--forces-key 'f': no frame", "test", "TOY", "FRAMES", "--forces-key", "f")
    add("--stress-key '': give the name", "test", "TOY", "FRAMES", "--stress-key", "")
    add("--group '': give the name", "test", "TOY", "FRAMES", "--group", "")
    add("--worst -1", "test", "TOY", "FRAMES", "--worst", "-1")
    add("lengthUnit='kg' is not a known unit", "test", "TOY", "FRAMES", "--reference-units", "kg", "eV")
    add("energy is 1e\\+308, and no reference value", "test", "TOY", "DATA", DATA=("extxyz", energies.format("1e308")),
        name="test, energy too large")  # fmt: skip
    add("energy is NaN or infinite; remove this frame", "test", "TOY", "DATA", DATA=("extxyz", energies.format("nan")),
        name="test, energy NaN")  # fmt: skip
    add("energy is 'abc', expected numbers", "test", "TOY", "DATA", DATA=("extxyz", energies.format("abc")),
        name="test, energy a word")  # fmt: skip
    add("has no reference energies", "test", "TOY", "DATA", DATA=("extxyz", "1\n\nH 0 0 0\n"),
        name="test, no labels")  # fmt: skip
    add("cannot be read to its end", "test", "TOY", "DATA",
        DATA=("extxyz", energies.format("-1") + "2\nProperties=species:S:1:pos:R:3\nH 0 0 0\n"),
        name="test, half a frame")  # fmt: skip
    for command in (("test", "TOY", "FRAMES"), ("bench", "--model", "TOY"), ("demo",),
                    ("run", "--model", "TOY", "--structure", "PAIR")):  # fmt: skip
        add("is a file; give another --output", *command, "--output", "PAIR")
        add("cannot be made: .* is a file; give another", *command, "--output", "INSIDE")
        add("output = '': give a path", *command, "--output", "")
        add("allows no new files", *command, "--output", "/proc/x")
    add("is a file; give another --output", "pmf", "FOLDER", "--output", "PAIR")
    add("is there and is no ordinary file", "parity", "TOY", "PAIR", "--markdown", "FOLDER")
    add("the folder .* does not exist", "parity", "TOY", "PAIR", "--markdown", "NOWHERE")
    add("file of atom types .* is a folder", "energy", "TOY", "PAIR", "--types", "FOLDER")
    add("file of atom types .* is a named pipe", "energy", "TOY", "PAIR", "--types", "PIPE")
    add("file of atom types .* is a device", "energy", "TOY", "PAIR", "--types", "/dev/zero")
    add("file of atom types .* is no text", "energy", "TOY", "PAIR", "--types", "T", T=("txt", b"\xff\xfe\x00"))
    add("larger than 100000 nm", "energy", "TOY", "PAIR", "--box", "1e9", "1e9", "1e9")
    add("box has 4 numbers", "energy", "TOY", "PAIR", "--box", "1", "1", "1", "1")
    add("--frame N for one frame or --frames", "energy", "TOY", "PAIR", "--frame", "0", "--frames", "all")
    add("not both", "energy", "TOY", "PAIR", "--units", "nm", "eV", "--length-unit", "nm")
    add("sizes 22 22: one is given twice", "bench", "--model", "TOY", "--sizes", "22", "22")
    add("budget=inf must be a finite", "bench", "--model", "TOY", "--budget", "inf")
    add("platforms: '' is unknown", "bench", "--model", "TOY", "--platforms", "")
    add("exclude each other", "compile", "CKPT", "--modifiers", "a", "--kernels", "fused")
    add("has no input 'spin'", "compile", "CKPT", "--input", "spin=2")
    add("is a named pipe", "compile", "PIPE")
    add("is a device", "info", "/dev/zero")
    add("is no id of a model; give nequip.net:", "info", "nequip.net:a/b:c/../d")
    add("holds no run to continue", "run", "--restart", "--output", "FOLDER")
    for text, words in (
        ("pressure = 1e12", "pressure = 1e\\+12|pressure = 1000000000000.0: it must be"),
        ("pressure = -1e12", "pressure = -1000000000000.0: it must be"),
        ('structure = ""', "structure = '': give a path"),
        ("steps = true", "steps = True: give a whole number"),
        ("steps = 1e3", "steps = 1000.0: give a whole number"),
        ("steps = 1979-05-27", "steps = .*give a whole number"),
        ("model = 1", "model = 1: give a text"),
        ("input = {charge = 1}", "input = .*give a list of names"),
        ("input = []", "input = .*give a list of names"),
        ("json = true", "unknown key 'json'"),
    ):  # fmt: skip
        # The command line states the same: what stands in the file is checked nevertheless.
        add(words, "run", "--config", "C", "--model", "TOY", "--structure", "PAIR", "--output", "NOWHERE", "--steps",
            "1", C=("toml", text), name=f"run, TOML {text}")  # fmt: skip
    return [Case("commands", *row) for row in rows]


def direct() -> list[Case]:
    """Python's callers: models with tensors, Systems to write, units."""
    tensors = {
        "positions": torch.zeros((2, 3), dtype=torch.float64),
        "types": torch.tensor([0, 1]),
        "edge_index": torch.tensor([[0, 1], [1, 0]]),
        "shifts": torch.zeros((2, 3), dtype=torch.float64),
        "cell": torch.eye(3, dtype=torch.float64),
    }
    rows: list[tuple[str, Callable[[Bench], Any], str]] = []
    for name, value, words in (
        ("positions", [[0, 0, 0], [1, 1, 1]], "positions is a list; give a torch.Tensor of the shape"),
        ("positions", torch.zeros((2, 2)), r"positions has the shape \(2, 2\); expected \(2, 3\)"),
        ("positions", torch.full((2, 3), np.nan), "positions has values that are NaN"),
        ("positions", torch.zeros((0, 3)), r"types has the shape \(2,\); expected \(0,\)"),
        ("types", torch.tensor([0, 99]), "types has values from 0 to 99; expected 0 to 4"),
        ("types", torch.tensor([0.0, 1.0]), "types has the dtype torch.float32; expected int64"),
        ("types", torch.tensor([0]), r"types has the shape \(1,\); expected \(2,\)"),
        ("edge_index", torch.tensor([[0, 5], [5, 0]]), "edge_index has values from 0 to 5; expected 0 to 1"),
        ("edge_index", torch.tensor([0, 1]), r"edge_index has the shape \(2,\)"),
        ("shifts", torch.full((2, 3), np.inf), "shifts has values that are NaN or infinite"),
        ("cell", torch.eye(2), r"cell has the shape \(2, 2\); expected \(3, 3\)"),
        ("cell", None, "cell is a NoneType"),
    ):
        rows.append(
            (
                f"model, {name} {str(value)[:30]!r}",
                lambda b, n=name, v=value: openmm_nequip.load_model(b.toy)(**{**tensors, n: v}),
                words,
            )
        )
    rows += [
        ("no atoms", lambda b: b.potential.createSystem(app.Topology()), "the topology has no atoms"),
        ("force group", lambda b: b.system(forceGroup=1), "createSystem does not know forceGroup"),
        ("units NaN", lambda b: openmm_nequip.Units(float("nan"), 1.0), "length=nan must be a positive, finite"),
        ("units zero", lambda b: openmm_nequip.Units(0.1, 0.0), "energy=0.0 must be a positive, finite"),
        ("stress of nothing", lambda b: StressCalculator(None), "StressCalculator got a NoneType"),
        ("write nothing", lambda b: openmm_nequip.write_system(None, "a.xml"), "write_system got a NoneType"),
        ("write nowhere", lambda b: openmm_nequip.write_system(b.system(), ""), "System file '' is no name"),
        ("write to a number", lambda b: openmm_nequip.write_system(b.system(), 5), "path=5 is no path"),
        (
            "write to a folder",
            lambda b: openmm_nequip.write_system(b.system(), b.special("folder")),
            "is there and is no ordinary file",
        ),
        (
            "write into no folder",
            lambda b: openmm_nequip.write_system(b.system(), b.folder / "no" / "a.xml"),
            "the folder .* does not exist",
        ),
        ("read nothing", lambda b: openmm_nequip.read_system(None), "read_system got 'None'; give the text"),
        ("read bytes", lambda b: openmm_nequip.read_system(b"<System/>"), "read_system got .*; give the text"),
        ("read an empty text", lambda b: openmm_nequip.read_system(""), "read_system got an empty text"),
        ("read another form", lambda b: openmm_nequip.read_system("<System/>"), "the XML is damaged, or of another"),
        ("read a changed one", changed_system, "is damaged: its content is not that of its SHA-256; copy the file"),
        ("shipped model, replaced", replaced_model, "is damaged or was replaced: .* install the package again"),
        ("shipped structure, replaced", replaced_structure, "is damaged or was replaced"),
    ]
    return [Case("direct calls", *row) for row in rows]


def changed_system(b: Bench) -> Any:
    """A file of ours with another mass."""
    path = b.folder / "changed.xml"
    openmm_nequip.write_system(b.system(), path)
    path.write_text(path.read_text().replace('mass="12', 'mass="13'))
    return openmm_nequip.read_system(path)


def _in_place_of_shipped(b: Bench, content: bytes, use: Callable[[str], Any], name: str) -> Any:
    """Use a file as if it lay where the package's own lies."""
    folder = b.folder / "data"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    before = shipped._FOLDER
    shipped._FOLDER = str(folder.resolve())
    try:
        return use(str(folder / name))
    finally:
        shipped._FOLDER = before


def replaced_model(b: Bench) -> Any:
    """Another, good model under the name of the shipped one."""
    content = (DATA / "tiny-nequip.nequip.zip").read_bytes()
    return _in_place_of_shipped(b, content, openmm_nequip.load_model, "alanine-dipeptide.nequip.zip")


def replaced_structure(b: Bench) -> Any:
    """Another, good structure under the name of the shipped one."""
    return _in_place_of_shipped(b, pdb(("H1", 0, 0, 0, "H")).encode(), read_structure, "alanine-dipeptide.pdb")


def table() -> list[Case]:
    """All rows."""
    return [
        *model_files(), *options(), *hybrids(), *settings(), *structures(), *evaluations(), *saved(), *crystals(),
        *commands(), *direct(),
    ]  # fmt: skip


__all__ = ["Bench", "Case", "app", "table"]
