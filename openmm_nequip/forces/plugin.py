"""Loading openmmtorch's kernels, which OpenMM misses when it is imported before torch."""

from __future__ import annotations

import importlib.util
import re

import openmm
import torch  # noqa: F401  its libraries must be in the process before the plugin's

_FAILED_LIBRARY = re.compile(r"Error loading library (\S*OpenMMTorch\S*):")
_tried: set[str] = set()


def load_plugin_kernels() -> list[str]:
    """Load what OpenMM could not load of openmmtorch when it started, now that torch is there.

    Returns
    -------
    list of str
        The libraries loaded now; empty if openmmtorch is not installed or nothing was missing.
    """
    loaded: list[str] = []
    if importlib.util.find_spec("openmmtorch") is None:
        return loaded
    for failure in openmm.Platform.getPluginLoadFailures():
        match = _FAILED_LIBRARY.match(failure)
        if match and match[1] not in _tried:
            _tried.add(match[1])
            try:
                openmm.Platform.loadPluginLibrary(match[1])
            except openmm.OpenMMException:
                continue  # the library of a platform that this machine does not have
            loaded.append(match[1])
    return loaded
