"""Ready to publish: sdist and wheel build and pass twine's check, and the wheel alone is the whole package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import openmm_nequip
from openmm_nequip._version import __version__

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(openmm_nequip.__file__).parent
pytest.importorskip("build", reason="the extra publish, which the stack pythonforce has")
pytestmark = pytest.mark.slow


def call(*command, cwd=None, **environment):
    """Standard output of a command that must succeed."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the sdist of this checkout, and the wheel that is made from the sdist."""
    folder = tmp_path_factory.mktemp("publish")
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "_build")
    shutil.copytree(ROOT, folder / "tree", ignore=ignored)
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", folder / "tree")
    return folder / "dist"


def test_metadata_renders(built):
    files = sorted(built.iterdir())
    assert [path.name for path in files] == [
        f"openmm_nequip-{__version__}-py3-none-any.whl", f"openmm_nequip-{__version__}.tar.gz"
    ]  # fmt: skip
    said = call(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files)
    assert said.count("PASSED") == 2


def test_everything_is_in_the_wheel_and_the_sdist(built):
    here = {
        path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    # What people read beside the code (the kernels' page) is in the sdist.
    assert {name for name in here - packed if not name.endswith(".md")} == set()
    assert packed - here == set()
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert here - {"openmm_nequip/kernels/README.md"} <= names
    assert {"LICENSE", "CHANGELOG.md", "docs/conf.py", "docs/index.md", "tests/run.sh", "constraints.txt"} <= names


def test_the_wheel_alone_runs(built, tmp_path):
    """In an environment that has what the wheel needs, and of this package the wheel alone, far from the checkout."""
    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    site = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    others = Path(pytest.__file__).parents[1]
    # A .pth file inside a folder that a .pth file names is not read: the editable installation stays out of sight.
    (site / "needs.pth").write_text(f"{others}\n")
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    python, alone = tmp_path / "venv" / "bin" / "python", {"PYTHONPATH": ""}
    where = call(python, "-c", "import openmm_nequip; print(openmm_nequip.__file__)", cwd=tmp_path, **alone)
    assert Path(where.strip()) == site / "openmm_nequip" / "__init__.py"
    summary = call(
        python, "-m", "openmm_nequip", "demo", "--steps", "20", "--output", tmp_path / "demo", "--quiet", "--json",
        cwd=tmp_path, **alone,
    )  # fmt: skip
    assert '"openmm_energy_kj_per_mol"' in summary
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"ramachandran.png", "energy.png", "trajectory.dcd", "start.pdb"} <= written
