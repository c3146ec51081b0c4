"""The function of a PythonForce."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import openmm


def pickled_function(force: Any) -> bytes:
    """The pickle of a PythonForce's function; not unpickled, which would run what it names.

    Borrowed: the attribute ``function`` of the force's XML, the pickle in hexadecimal. OpenMM's own
    ``PythonForce.getPickledFunction`` gives a bare pointer, and there is no other way to the function. Known to work:
    OpenMM 8.4 to 8.6. Where it is gone, there is no pickle. Test: ``tests/test_stress.py``.

    Parameters
    ----------
    force : openmm.PythonForce
        Any.

    Returns
    -------
    bytes
        Empty where the force has none.
    """
    text = ElementTree.fromstring(openmm.XmlSerializer.serialize(force)).get("function", "")
    return bytes.fromhex(text)
