"""What importing the package and asking the command for help import: nothing of what models need."""

import subprocess
import sys

import pytest

import openmm_nequip
from openmm_nequip._version import __version__

#: Packages that take a second to import or belong to one command alone.
HEAVY = (
    "torch", "openmm", "openmmml", "nequip", "numpy", "matplotlib", "ase", "mdtraj", "tqdm", "vesin", "vesin_torch"
)  # fmt: skip
LOADED = f"""
import sys
sys.stderr.write(" ".join(name for name in {HEAVY!r} if name in sys.modules))
"""


def python(code):
    """Standard output and standard error of code in a process of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import openmm_nequip",
        "import openmm_nequip.errors",
        "import openmm_nequip.nequip_extension, openmm_nequip.registration, openmm_nequip.choices",
        "import openmm_nequip; dir(openmm_nequip), openmm_nequip.__all__, openmm_nequip.__version__",
        "import openmm_nequip.app.cli",
    ],
)
def test_imports_are_light(code):
    assert python(code + LOADED) == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [["--version"], ["--help"], *([name, "--help"] for name in ("info", "energy", "run", "demo", "bench", "compile"))],
)
def test_help_is_light(arguments):
    code = f"""
from openmm_nequip.app.cli import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0
"""
    out, loaded = python(code + LOADED)
    assert loaded == ""
    assert out == f"openmm-nequip {__version__}\n" if arguments == ["--version"] else "usage: openmm-nequip" in out


def test_wrong_usage_is_light():
    code = """
import contextlib, io
from openmm_nequip.app.cli import main
with contextlib.redirect_stderr(io.StringIO()):
    for arguments in ["run", "--ensemble", "nph"], ["energy", "a"], []:
        try:
            main(arguments)
        except SystemExit as end:
            assert end.code == 2
"""
    assert python(code + LOADED) == ("", "")


def test_public_names_are_there():
    assert set(openmm_nequip.__all__) <= set(dir(openmm_nequip))
    for name in openmm_nequip.__all__:
        value = getattr(openmm_nequip, name)
        assert value is getattr(openmm_nequip, name) and (name == "__version__" or value.__name__.endswith(name))
    namespace = {}
    exec("from openmm_nequip import *", namespace)
    assert set(openmm_nequip.__all__) <= set(namespace)


def test_unknown_names_are_no_attributes():
    assert not hasattr(openmm_nequip, "load_modle")
    with pytest.raises(AttributeError, match="module 'openmm_nequip' has no attribute 'load_modle'"):
        openmm_nequip.load_modle  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'load_modle'"):
        exec("from openmm_nequip import load_modle")
