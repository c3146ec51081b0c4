"""What README and docs show works: Python blocks are run, commands are parsed or run, words of errors are real.

Blocks of Python share the names of their page and start with those that a reader has (``topology``, ``mm_system``,
``ligand``, ``positions``) in a folder with the files that the pages name. A block before which
``<!-- excerpt: FILE -->`` stands has to be in that file, one with ``<!-- needs: WHAT -->`` is only compiled. Lines of
shell that are no command of this package are in :data:`NEEDS`, with what they need.
"""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
import shutil
from pathlib import Path

import openmm
import openmm.app as app
import openmm.unit as unit
import pytest

import openmm_nequip
from openmm_nequip import errors
from openmm_nequip.app.cli import main, make_parser

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "openmm_nequip" / "data"
MODEL = DATA / "alanine-dipeptide.nequip.zip"
#: Pages with blocks: the front page and the site's own, those that the site makes left out.
PAGES = sorted(
    path for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if "_build" not in path.parts
    and "gallery" not in path.parts
)  # fmt: skip
#: Beginnings of lines of shell that are not run here, with what they need or what else runs them.
NEEDS = {
    "python3 -m venv": "the package index; .ci/run does it",
    ".venv/bin/pip install": "the package index; .ci/run does it",
    ".venv/bin/openmm-nequip demo": "a minute; tests/test_run.py runs the demonstration",
    "bash tests/run.sh": "is what runs this",
    "nequip-compile": "minutes; tests/test_compile_target.py and tests/test_kernels_compile.py",
}
#: Commands that are run as they stand, with the shipped model for MODEL; the others are parsed.
CHEAP = ("info", "energy")
FENCE = re.compile(
    r"(?:<!-- (?P<mark>excerpt|needs): (?P<what>[^\n]+) -->\n)?"
    r"^```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$", re.M | re.S
)


def blocks(page, language):
    """Texts of the blocks of a language on a page, each with its mark and what the mark names."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [(match["text"], match["mark"], match["what"]) for match in found if match["language"] == language]


def with_blocks(language):
    """Pages that have blocks of a language, as parameters of a test."""
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if blocks(page, language)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the files that the pages name."""
    shutil.copy(MODEL, tmp_path / "model.nequip.zip")
    for name in ("start.pdb", "structure.pdb"):
        shutil.copy(DATA / "alanine-dipeptide.pdb", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def solvated():
    """The shipped peptide in a small box of water, with its force field."""
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.8, 1.8, 1.8))
    system = forcefield.createSystem(modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.7 * unit.nanometer)
    return modeller, system


@pytest.mark.parametrize("page", with_blocks("python"))
def test_python_runs(page, folder, solvated):
    modeller, mm_system = solvated
    app.PDBFile.writeFile(modeller.topology, modeller.positions, str(folder / "complex.pdb"))
    ligand = [atom.index for atom in modeller.topology.atoms() if atom.residue.name != "HOH"]
    names = {
        "topology": modeller.topology, "positions": modeller.positions, "mm_system": mm_system, "ligand": ligand,
        "openmm_nequip": openmm_nequip, "__name__": "page",
    }  # fmt: skip
    for text, mark, what in blocks(page, "python"):
        code = compile(text, str(page), "exec")
        if mark == "excerpt":
            assert text in (ROOT / what).read_text(encoding="utf-8"), f"{page.name}: no excerpt of {what} any more"
        elif mark is None:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, names)


def command_lines(page):
    """Lines of shell on a page, continued ones joined, without comments."""
    for text, mark, _ in blocks(page, "bash"):
        assert mark is None, f"{page.name}: lines of shell are parsed, or named in NEEDS"
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@pytest.mark.parametrize("page", with_blocks("bash"))
def test_commands_are_commands(page, folder, monkeypatch):
    parser = make_parser()
    for words in command_lines(page):
        line = " ".join(words)
        if words[0] != "openmm-nequip":
            assert line.startswith(tuple(NEEDS)), f"{page.name}: {line!r} is no command of this package; see NEEDS"
            continue
        arguments = [str(MODEL) if word == "MODEL" else word for word in words[1:]]
        if arguments == ["--version"]:
            continue
        parsed = parser.parse_args([a for a in arguments if a not in ("COMMAND", "--help")] or ["info", "x"])
        assert callable(parsed.command)
        suffixes = (".pdb", ".cif", ".extxyz", ".gro", ".pt", ".pth", ".ckpt")
        named = [word for word in arguments if word.endswith(suffixes)]
        if arguments[0] in CHEAP and all((folder / name).exists() for name in named):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                assert main(arguments) == 0, line
            assert "0.450" in out.getvalue() or "4.5 angstrom" in out.getvalue() or "-86577.95" in out.getvalue(), line


@pytest.mark.parametrize("page", with_blocks("toml"))
def test_settings_are_toml(page):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 has it")
    for text, _, _ in blocks(page, "toml"):
        assert tomllib.loads(text)


def test_no_block_is_of_a_kind_that_nobody_tries():
    kinds = {match["language"] for page in PAGES for match in FENCE.finditer(page.read_text(encoding="utf-8"))}
    assert {kind for kind in kinds if not kind.startswith("{")} <= {"python", "bash", "toml"}


def test_words_of_errors_are_real():
    """The first column of the troubleshooting page stands in the package's messages, the second names their classes."""
    said = []
    for path in sorted((ROOT / "openmm_nequip").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                said.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    text = "\n".join(said)
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text(encoding="utf-8").split("## No message")[0]
    rows = re.findall(r"^\| ([^|]+) \| `(\w+)` \| ", page, re.M)
    assert len(rows) >= 20
    for words, name in rows:
        assert words in text, words
        assert hasattr(errors, name) or name == "TypeError", name


def test_the_numbers_of_the_first_pages_are_the_models():
    pdb = app.PDBFile(str(DATA / "alanine-dipeptide.pdb"))
    from openmmml import MLPotential

    system = MLPotential("nequip", modelPath=str(MODEL)).createSystem(pdb.topology)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(pdb.positions)
    energy = context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    electronvolt = energy / openmm_nequip.units.KJ_PER_MOL_PER_EV
    assert f"{electronvolt:.5f} eV" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert f"{energy:.2f} kJ/mol = {electronvolt:.5f} eV" in (ROOT / "docs/start/ten-minutes.md").read_text("utf-8")
