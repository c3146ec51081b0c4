"""What compiled code prints, and which platforms a run chooses by itself."""

import ctypes
import os
import sys

import pytest

from openmm_nequip.app.answer import printable
from openmm_nequip.app.console import console


def test_what_compiled_code_prints_does_not_reach_stdout(capfd):
    """OpenMM writes some warnings to the descriptor, past Python: one line there would break a JSON document."""
    with console(quiet=True, debug=False):
        os.write(1, b"from the system\n")
        ctypes.CDLL(None).printf(b"from C\n")
        print("from Python")
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    said = capfd.readouterr()
    assert said.out == "{}\n"
    assert all(words in said.err for words in ("from the system", "from C", "from Python"))


def test_an_error_inside_gives_stdout_back(capfd):
    with pytest.raises(RuntimeError), console(quiet=True, debug=False):
        raise RuntimeError("inside")
    os.write(1, b"{}\n")
    assert capfd.readouterr().out == "{}\n"


def test_a_process_without_stdout(monkeypatch):
    monkeypatch.setattr(os, "dup", lambda number: (_ for _ in ()).throw(OSError(9, "Bad file descriptor")))
    with console(quiet=True, debug=False):
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\x1b[2Jb", r"a\x1b[2Jb"), ("a\nb\tc", "a\nb\tc"), ("µÅ φ/ψ ±", "µÅ φ/ψ ±"), ("\u202egpj.exe", r"\u202egpj.exe"),
     ("\x9b31m", r"\x9b31m"), ("a\rb", r"a\rb"), ("\x00", r"\x00"), ("\ud800", r"\ud800")],
)  # fmt: skip
def test_commands_to_a_terminal_are_written_out(text, shown):
    assert printable(text) == shown
