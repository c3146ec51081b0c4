"""The conda recipe: it renders, and it says what setup.cfg says."""

from __future__ import annotations

import configparser
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "conda-recipe" / "recipe.yaml"
#: Names on conda-forge of what the package index calls otherwise.
CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "openmmml": "openmm-ml",
    "openmmtorch": "openmm-torch",
    "pymbar": "pymbar-core",
    "torch": "pytorch",
    "vesin": "python-vesin",
}
#: Optional packages that conda-forge does not have.
NOT_ON_CONDA_FORGE = {"vesin-torch"}


def substitute(node, context):
    """The recipe with the variables of its context put in; others, such as PYTHON, stay."""
    if isinstance(node, dict):
        return {key: substitute(value, context) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, context) for value in node]
    if isinstance(node, str):
        return re.sub(r"\$\{\{ *(\w+) *\}\}", lambda found: context.get(found[1], found[0]), node)
    return node


def as_conda(requirements):
    """Conda specifications of a list of requirements in setup.cfg; markers do not exist in a noarch package."""
    found = set()
    for line in filter(None, requirements.splitlines()):
        parsed = Requirement(line)
        if parsed.name not in NOT_ON_CONDA_FORGE:
            found.add(f"{CONDA_NAMES.get(parsed.name, parsed.name)} {parsed.specifier}".strip())
    return found


@pytest.fixture(scope="module")
def recipe():
    """The recipe as any YAML reader sees it."""
    loaded = yaml.safe_load(RECIPE.read_text())
    return substitute(loaded, loaded["context"])


@pytest.fixture(scope="module")
def setup_cfg():
    """setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


@pytest.fixture(scope="module")
def rendered():
    """The one variant that rattler-build makes of the recipe."""
    try:
        import rattler_build
    except ImportError:
        if os.environ.get("OPENMM_NEQUIP_REQUIRE_CONDA") == "1":
            pytest.fail("OPENMM_NEQUIP_REQUIRE_CONDA=1, but py-rattler-build is not installed")
        pytest.skip("py-rattler-build is not installed: the conda recipe was not rendered")
    config = rattler_build.RenderConfig(platform=rattler_build.PlatformConfig(target_platform="linux-64"))
    (variant,) = rattler_build.Stage0Recipe.from_file(RECIPE).render(rattler_build.VariantConfig(), config)
    return variant.recipe.to_dict()


def test_renders_to_what_was_written(recipe, rendered):
    assert rendered["package"] == recipe["package"]
    assert rendered["build"]["noarch"] == "python"
    assert rendered["build"]["python"] == recipe["build"]["python"]
    assert rendered["requirements"] == recipe["requirements"]
    assert rendered["source"] == [recipe["source"]]
    assert rendered["about"]["license"] == recipe["about"]["license"]
    assert "openmm_nequip" in rendered["tests"][0]["python"]["imports"]
    assert rendered["tests"][1]["script"] == recipe["tests"][1]["script"]


def test_name_version_and_licence(recipe, setup_cfg):
    metadata = setup_cfg["metadata"]
    module, _, name = metadata["version"].removeprefix("attr:").strip().rpartition(".")
    version = runpy.run_path(str(ROOT / (module.replace(".", "/") + ".py")))[name]
    assert recipe["package"] == {"name": metadata["name"], "version": version}
    assert recipe["about"]["license"] == metadata["license"]
    assert recipe["about"]["license_file"] == metadata["license_files"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    assert (RECIPE.parent / recipe["source"]["path"] / "setup.cfg").is_file()


def test_requirements_are_those_of_setup_cfg(recipe, setup_cfg):
    run = recipe["requirements"]["run"]
    assert len(set(run)) == len(run)
    expected = as_conda(setup_cfg["options"]["install_requires"]) | {
        f"python {setup_cfg['options']['python_requires']}"
    }
    assert set(run) == expected


def test_python_of_build_and_tests_is_the_oldest_supported(recipe, setup_cfg):
    oldest = f"{setup_cfg['options']['python_requires'].removeprefix('>=')}.*"
    assert f"python {oldest}" in recipe["requirements"]["host"]
    assert oldest in recipe["tests"][0]["python"]["python_version"]
    assert f"python {oldest}" in recipe["tests"][1]["requirements"]["run"]


def test_build_requirement_is_that_of_pyproject(recipe):
    (requires,) = re.findall(r'^requires = \["([^"]+)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert as_conda(requires) < set(recipe["requirements"]["host"])


def test_openmm_torch_is_an_optional_constraint(recipe, setup_cfg):
    constraints = recipe["requirements"]["run_constraints"]
    assert any(line.split()[0] == "openmm-torch" for line in constraints)
    assert set(constraints) == as_conda(setup_cfg["options.extras_require"]["torchforce"])


def test_console_scripts_are_those_of_setup_cfg(recipe, setup_cfg):
    scripts = setup_cfg["options.entry_points"]["console_scripts"].strip().splitlines()
    assert recipe["build"]["python"]["entry_points"] == scripts


def test_command_of_the_test_section_is_given_the_shipped_model(recipe, tmp_path):
    """The command with a stand-in for the console script, which wants `info` and a file that exists."""
    stand_in = tmp_path / "openmm-nequip"
    stand_in.write_text('#!/bin/sh\n[ $# = 2 ] && [ "$1" = info ] && [ -f "$2" ] && echo "$2"\n')
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euc", recipe["tests"][1]["script"]],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(".nequip.zip")
