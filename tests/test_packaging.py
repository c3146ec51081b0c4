"""What comes with the package beside its code: types for other people's checkers, and how to cite it."""

import configparser
from importlib.metadata import entry_points
from pathlib import Path

import yaml

import openmm_nequip

ROOT = Path(__file__).resolve().parents[1]
#: DOI of the paper of each architecture.
PAPERS = {"10.1038/s41467-022-29939-5": ("13", "2453", 2022), "10.1038/s41467-023-36329-y": ("14", "579", 2023)}


def setup() -> configparser.ConfigParser:
    """The package's metadata."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_citation_says_what_the_package_says():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == openmm_nequip.__version__
    assert citation["license"] == setup()["metadata"]["license"]
    assert citation["title"].startswith(f"{setup()['metadata']['name']}: ")
    assert citation["authors"] == [{"name": "openmm-nequip developers"}]
    found = {paper["doi"]: (str(paper["volume"]), str(paper["start"]), paper["year"])
             for paper in citation["references"]}  # fmt: skip
    assert found == PAPERS


def test_type_checkers_read_the_annotations():
    assert (Path(openmm_nequip.__file__).parent / "py.typed").exists()
    assert "py.typed" in setup()["options.package_data"]["openmm_nequip"]


def test_installed_entry_points_are_those_of_the_metadata():
    stated = setup()["options.entry_points"]
    for group in stated:
        for line in stated[group].strip().splitlines():
            name, value = (part.strip() for part in line.split("="))
            found = [point for point in entry_points(group=group, name=name) if point.value == value]
            assert found, f"{group}: {line} is not installed; install the package again: pip install -e ."
            assert found[0].load() is not None
