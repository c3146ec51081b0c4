"""Nothing is marked out of everything: each test runs in a stack, and is in the fast set or marked slow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BACKENDS, COLLECTED
from stacks import LONGEST_FIRST, PLUGIN_BACKENDS, SLOW_FIXTURES, STACKS, is_selected

TESTS = Path(__file__).parent


@pytest.fixture
def collected(request):
    """Markers of every test that this process collected, chosen or not: node id -> names."""
    return request.config.stash[COLLECTED]


def runs(stack, fast, collected):
    """Node ids of the tests that ``tests/run.sh`` runs."""
    return {test for test, markers in collected.items() if "gpu" not in markers and is_selected(markers, stack, fast)}


def test_every_test_runs_in_a_stack(collected):
    """In ``pythonforce``, unless it needs the plugin, which is not there: then in ``torchforce``."""
    pattern = re.compile(rf"[\[-]({'|'.join(PLUGIN_BACKENDS)})[\]-]")
    needs_plugin = {test for test in collected if pattern.search(test)}
    assert runs("torchforce", False, collected) >= needs_plugin - gpu(collected)
    assert runs("pythonforce", False, collected) == set(collected) - gpu(collected)
    if "TorchForce" not in BACKENDS:
        assert not needs_plugin, "tests of a backend that is not there"


def gpu(collected):
    return {test for test, markers in collected.items() if "gpu" in markers}


@pytest.mark.parametrize("stack", STACKS)
def test_full_is_fast_and_slow(collected, stack):
    full, fast = runs(stack, False, collected), runs(stack, True, collected)
    slow = {test for test, markers in collected.items() if "slow" in markers}
    assert fast <= full and full - fast == full & slow
    assert slow <= runs("pythonforce", False, collected)


def test_the_script_selects_by_stack_and_set_alone():
    """What it runs is what :func:`stacks.is_selected` says: no file or test is left out on its command line."""
    script = (TESTS / "run.sh").read_text(encoding="utf-8")
    (command,) = re.findall(r"-m pytest (.*?)\n\}", script, re.S)
    options = set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", command.replace("${fast[@]+", " ")))
    assert options == {"-q", "--durations", "--stack", "-n", "--dist", "--no-loadscope-reorder"}
    assert "fast) fast=(--fast) ;;" in script and "stacks=(pythonforce torchforce)" in script
    assert "bash tests/run.sh\n" in (TESTS.parent / ".ci" / "run").read_text(encoding="utf-8")
    settings = (TESTS.parent / "setup.cfg").read_text(encoding="utf-8")
    assert 'addopts = -m "not gpu" --strict-markers\n' in settings and "testpaths = tests\n" in settings


def test_names_in_the_table_are_those_there_are(collected):
    assert all((TESTS / name).is_file() for name in LONGEST_FIRST)
    sources = "".join(path.read_text(encoding="utf-8") for path in TESTS.glob("*.py"))
    assert all(f"def {name}(" in sources for name in SLOW_FIXTURES)


TWO = """
import pytest

@pytest.mark.slow
@pytest.mark.torchforce_stack
def test_both(): pass

@pytest.mark.torchforce_stack
def test_here(): pass

def test_newest_alone(): pass

def test_left_to_nobody(): pytest.skip("the other stack runs this")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "counts"),
    [
        (["--stack", "pythonforce"], "1 failed, 3 passed"),
        (["--stack", "torchforce", "--fast"], "1 passed, 3 deselected"),
    ],
)
def test_options_do_what_they_say(tmp_path, options, counts):
    """And a test that points to the other stack without the marker fails: no stack runs it."""
    (tmp_path / "test_two.py").write_text(TWO)
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "setup.cfg").write_text((TESTS.parent / "setup.cfg").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_two.py"), *options]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(TESTS), str(TESTS.parent)]))
    environment.pop("PYTEST_ADDOPTS", None)  # the words of the output are read
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines()[-1].startswith(counts), done.stdout + done.stderr
