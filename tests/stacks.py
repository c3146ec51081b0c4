"""Which tests run where: two stacks, and of each a full and a fast set. ``conftest.py`` applies it.

The stack ``pythonforce`` (newest torch and OpenMM) runs every test. The stack ``torchforce`` (torch 2.9, OpenMM 8.5,
openmmtorch) runs those with the marker ``torchforce_stack``, what depends on one of the three, unless a test of such a
file bears ``pythonforce_stack``, since it does not. The fast set is
everything without the marker ``slow``. Tests marked ``gpu`` belong to neither and are asked for with ``-m gpu``.
"""

from __future__ import annotations

from collections.abc import Collection

STACKS = ("pythonforce", "torchforce")
#: Backends of the plugin: tests that run on them exist in the stack ``torchforce`` alone.
PLUGIN_BACKENDS = ("TorchForce", "PythonTorchForce")
#: Fixtures whose users take minutes on an empty cache.
SLOW_FIXTURES = ("compiled", "artefacts", "measured")
#: Fixtures of files compiled with AOTInductor: their users run with the newest torch alone; what torch 2.9 does with
#: such files is tested in test_artefacts.py.
NEWEST_TORCH_FIXTURES = ("compiled", "packages")
#: Files that take long, the longest first: begun first, they do not end alone while other processes are idle.
LONGEST_FIRST = (
    "test_artefacts.py", "test_models.py", "test_tutorial_molecules.py", "test_ase.py", "test_tutorial_crystals.py",
    "test_torchmdnet.py",
)  # fmt: skip


def is_selected(markers: Collection[str], stack: str | None, fast: bool) -> bool:
    """Whether a test with these markers runs.

    Parameters
    ----------
    markers : collection of str
        Names of the test's markers.
    stack : str or None
        One of :data:`STACKS`; None for every test that the environment can run.
    fast : bool
        The fast set alone.

    Returns
    -------
    bool
    """
    if stack == "torchforce" and ("torchforce_stack" not in markers or "pythonforce_stack" in markers):
        return False
    return not (fast and "slow" in markers)


def rank(file: str) -> int:
    """Place of a file of tests in the order in which files are begun."""
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
