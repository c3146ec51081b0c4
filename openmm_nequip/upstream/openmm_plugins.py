"""Loading openmmtorch's kernels, which OpenMM misses when it is imported before torch."""

from __future__ import annotations

import functools
import importlib.util
import re
import sys

from .import_hooks import before_import

_FAILED_LIBRARY = re.compile(r"Error loading library (\S*OpenMMTorch\S*):")


def prepare_for_torch_forces() -> None:
    """See to it that a System with a TorchForce of ours can be read from XML, where openmmtorch is installed.

    The force's module uses vesin's operators and its kernels are the plugin's. ``XmlSerializer.deserialize`` does not
    tell anybody that it is about to read a System, so both are loaded with OpenMM: now, if OpenMM is imported already,
    and else when it is imported, before it loads its plugins. Without openmmtorch or vesin-torch nothing happens.

    Borrowed: the hook of :func:`openmm_nequip.upstream.import_hooks.before_import`. Known to work: openmmtorch 1.5 with
    OpenMM 8.5. Test: ``tests/test_registration.py``.
    """
    if importlib.util.find_spec("openmmtorch") is None or importlib.util.find_spec("vesin_torch") is None:
        return
    if sys.modules.get("openmm") is None:
        before_import("openmm", _load_operators)
        return
    _load_operators()
    load_plugin_kernels()


def _load_operators() -> None:
    """torch, whose libraries the plugin needs in the process, and vesin's operators."""
    try:
        import torch  # noqa: F401
        import vesin_torch  # noqa: F401
    except Exception as error:  # a broken installation of torch must not take OpenMM's import with it
        import logging

        logging.getLogger(__name__).warning("a TorchForce cannot be used: %s: %s", type(error).__name__, error)


def load_plugin_kernels() -> list[str]:
    """Load what OpenMM could not load of openmmtorch when it started, now that torch is there.

    Borrowed: the text of ``Platform.getPluginLoadFailures()``, which alone names the libraries. Known to work: OpenMM
    8.2 to 8.6. Where the text is another, nothing is loaded. Test: ``tests/test_registration.py``.

    Returns
    -------
    list of str
        The libraries loaded by this call or an earlier one; empty if openmmtorch is not installed or nothing was
        missing.
    """
    if importlib.util.find_spec("openmmtorch") is None:
        return []
    import openmm

    failed = (_FAILED_LIBRARY.match(failure) for failure in openmm.Platform.getPluginLoadFailures())
    return [match[1] for match in failed if match and _loaded(match[1])]


@functools.cache
def _loaded(library: str) -> bool:
    """Load a plugin library once; whether that worked."""
    import openmm
    import torch  # noqa: F401  its libraries must be in the process before the plugin's

    try:
        openmm.Platform.loadPluginLibrary(library)
    except openmm.OpenMMException:
        return False  # the library of a platform that this machine does not have
    return True
