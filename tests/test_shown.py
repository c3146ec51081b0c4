"""What a notebook shows: facts of models, reports of hybrid Systems, regions, and a bar that moves."""

import sys
import types
import warnings
from xml.etree import ElementTree

import openmm
import openmm.app as app
import pytest
from conftest import DATA
from test_mixed_standin import dipeptide, vacuum_system

import openmm_nequip
from openmm_nequip.models import locate, read_info
from openmm_nequip.progress import in_notebook, progress_bar
from openmm_nequip.reporters import ProgressReporter
from openmm_nequip.shown import as_ranges

REGION = list(range(8, 14))


def words(shown):
    """All text of well-formed HTML."""
    return " ".join(ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>").itertext())


@pytest.fixture(scope="module")
def mixed():
    """Alanine dipeptide with its middle by the model: two cut bonds, a note."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the region's charge is no whole number
        return openmm_nequip.create_mixed_system(
            dipeptide()[0], vacuum_system(), REGION, str(DATA / "tiny-nequip.nequip.pth"), interpolate=True
        )


def test_facts_of_a_model():
    info = read_info(locate(DATA / "tiny-allegro.nequip.zip"), run_code=False)
    line, table = repr(info), words(info)
    assert line.startswith(f"<ModelInfo: {len(info.type_names)} types ({' '.join(info.type_names)}); cutoff ")
    assert len(line) < 200 and "\n" not in line
    for word in (*info.type_names, f"{info.cutoff:g}", info.dtype, "energy, forces", *info.versions):
        assert word in table, word


def test_names_in_files_are_no_markup():
    info = openmm_nequip.ModelInfo(type_names=("<b>", "&"), cutoff=5.0, dtype="float32")
    assert "<b> &" in words(info) and "<b>&" not in info._repr_html_()


def test_a_region(mixed):
    (region,) = mixed.regions
    assert repr(region).startswith("<Region: 6 atoms (8-13); 2 cut bonds (8-6 by H at 0.")
    assert all(word in words(region) for word in ("6: 8-13", "8-6 by H at 0."))
    water = openmm_nequip.Region((5, 3, 4, 9), sites=(6,), open=((3, 2),))
    assert repr(water) == "<Region: 4 atoms (5 3-4 9); 1 cut bond (3-2 without a cap); 1 virtual site>"


def test_a_report(mixed):
    report = mixed.report
    assert repr(report).startswith(f"<MixedReport: rule {report.rule!r}; 1 region of 6 atoms; 2 cut bonds; ")
    assert f"{report.removed()} terms removed" in repr(report) and repr(report) in repr(mixed)
    table = words(report)
    for word in ("6: 8-13", *(entry.action for entry in report.forces), report.lambdaName, *report.notes):
        assert word in table, word
    assert ElementTree.fromstring(f"<div>{openmm_nequip.MixedReport(rule='openmm-ml')._repr_html_()}</div>")


def test_ranges():
    assert as_ranges([]) == [] and as_ranges([4]) == ["4"] and as_ranges([0, 1, 2, 7, 6]) == ["0-2", "7", "6"]


@pytest.fixture
def notebook(monkeypatch):
    """As in the kernel of a notebook without ipywidgets: IPython is loaded, and its output is no terminal."""
    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


def test_a_bar_in_a_pipe_is_none(capsys, monkeypatch):
    shell = types.SimpleNamespace(config={})  # IPython at a terminal
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert not in_notebook() and list(progress_bar(range(3))) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_bar_in_a_notebook(notebook, capsys):
    assert in_notebook() and list(progress_bar(range(3), desc="frames")) == [0, 1, 2]
    assert "frames: 100%" in capsys.readouterr().err


def test_the_bar_of_a_simulation(notebook, capsys):
    topology = app.Topology()
    residue = topology.addResidue("X", topology.addChain())
    topology.addAtom("X", app.Element.getBySymbol("Ar"), residue)
    system = openmm.System()
    system.addParticle(40.0)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(topology, system, openmm.VerletIntegrator(0.001), platform)
    simulation.context.setPositions([openmm.Vec3(0, 0, 0)])
    simulation.step(3)
    simulation.reporters.append(ProgressReporter(4, 10))
    simulation.step(6)
    simulation.step(4)
    assert simulation.currentStep == 13 and "10/10" in capsys.readouterr().err
    for wrong in ((0, 10), (4, 0)):
        with pytest.raises(ValueError, match="expected a number of steps, at least 1"):
            ProgressReporter(*wrong)


