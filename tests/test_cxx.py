"""One meaning of CXX: a command as a shell would read it, for the fused kernels and for whatever else is compiled."""

import shutil
import sys

import pytest

from openmm_nequip.cxx import COMPILERS, find_compiler, missing_compiler
from openmm_nequip.errors import BuildError
from openmm_nequip.kernels.cpu.build import build, compiler_version, library_name

SOURCE = 'extern "C" int answer() { return ANSWER; }\n'


@pytest.fixture
def real():
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    assert found, "the tests need a C++ compiler"
    return found


def test_flags_are_part_of_the_command(real, monkeypatch, tmp_path):
    """CXX="g++ -O2" is a program and a flag; the flag reaches the compiler, and has a library of its own."""
    monkeypatch.setenv("CXX", f"{real} -DANSWER=42")
    assert find_compiler() == [real, "-DANSWER=42"]
    name = library_name(SOURCE)
    assert build(SOURCE, tmp_path, name).exists()
    monkeypatch.setenv("CXX", f"{real} -DANSWER=43")
    assert library_name(SOURCE) != name
    monkeypatch.setenv("CXX", real)
    with pytest.raises(BuildError, match="ANSWER"):
        build(SOURCE, tmp_path, library_name(SOURCE))


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands for the compiler")
@pytest.mark.parametrize("flags", ["", " -O2"])
def test_a_path_with_spaces_is_quoted(real, monkeypatch, tmp_path, flags):
    folder = tmp_path / "my tools"
    folder.mkdir()
    script = folder / "compiler"
    script.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", f"'{script}'{flags}")
    assert find_compiler() == [str(script), *flags.split()]
    source = SOURCE.replace("ANSWER", "42")
    assert build(source, tmp_path, library_name(source)).exists()
    monkeypatch.setenv("CXX", f"{script}{flags}")
    assert find_compiler() is None and "quotation marks" in missing_compiler()


@pytest.mark.parametrize("named", ["no-such-compiler", "no-such-compiler -O2", "'g++", "''"])
def test_a_compiler_that_is_not_there_is_named(monkeypatch, tmp_path, named):
    monkeypatch.setenv("CXX", named)
    assert find_compiler() is None and compiler_version() == ""
    assert repr(named) in missing_compiler()
    with pytest.raises(BuildError, match="is not a program; unset CXX"):
        build(SOURCE, tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_without_cxx_the_first_one_installed_is_taken(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    for name in reversed(COMPILERS):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_compiler() == [name]
    monkeypatch.setenv("CXX", " ")
    assert find_compiler() == [COMPILERS[0]], "an empty CXX is none"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert find_compiler() is None and "apt-get install" in missing_compiler()
