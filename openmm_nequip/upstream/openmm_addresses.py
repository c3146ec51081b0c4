"""Where OpenMM's objects lie in memory, for code of ours in C++."""

from __future__ import annotations

from typing import Any

from ..errors import UpstreamError


def address_of(thing: Any) -> int:
    """The address of the C++ object behind one of OpenMM's Python objects.

    Borrowed: the attribute ``this`` that SWIG gives its objects, which ``int()`` turns into an address. OpenMM has no
    other way to hand a Context or a Force to another library. Known to work: OpenMM 8.1 to 8.6. Test:
    ``tests/test_native_features.py``.

    Parameters
    ----------
    thing : openmm.Context or openmm.Force
        The object; it has to live as long as the address is used.

    Returns
    -------
    int

    Raises
    ------
    UpstreamError
        If it has no such attribute.
    """
    try:
        return int(thing.this)
    except (AttributeError, TypeError) as error:
        raise UpstreamError(
            f"a {type(thing).__name__} of OpenMM no longer says where it lies in memory (the attribute `this` of SWIG)",
            "openmm",
        ) from error
