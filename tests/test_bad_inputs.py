"""Bad inputs, each with the words that its message must have: none is accepted, none hangs, none ends the process."""

import re
import signal
import warnings
from collections import Counter
from pathlib import Path

import openmm
import pytest
from bad_inputs import Bench, table

TABLE = table()
#: Words of other people's parsers and of the system that tell a user nothing.
FOREIGN = re.compile(
    r"math domain error|list index out of range|Wrong number or type|\[Errno|string indices|not subscriptable|"
    r"'NoneType'|invalid literal for int|could not convert string|unpack|expected string or bytes|not iterable"
)
#: Seconds within which an answer must be there.
PATIENCE = 30
DOCS = Path(__file__).parent.parent / "docs" / "safety.md"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def patience():
    """An error in the test instead of a wait without end."""

    def stop(*_):
        raise AssertionError(f"no answer within {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_the_table_is_large_and_its_names_differ():
    assert len(TABLE) >= 300
    assert [name for name, count in Counter((row.kind, row.name) for row in TABLE).items() if count > 1] == []


def test_the_documentation_counts_as_the_table_does():
    stated = dict(re.findall(r"^\| ([\w ]+) \| (\d+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    counts = Counter(row.kind for row in TABLE)
    assert {kind: int(number) for kind, number in stated.items()} == {**counts, "all": len(TABLE)}


@pytest.mark.parametrize("case", TABLE, ids=lambda case: f"{case.kind}: {case.name}"[:70])
def test_a_bad_input_is_refused_in_words(case, bench, patience):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ValueError, TypeError, OSError, RuntimeError, openmm.OpenMMException)) as caught:
            case.call(bench)
    text = str(caught.value)
    first = next((line for line in text.splitlines() if line.strip()), "")
    assert re.search(case.words, text), f"{type(caught.value).__name__}: {text}"
    assert not FOREIGN.search(first), f"{type(caught.value).__name__}: {first}"
