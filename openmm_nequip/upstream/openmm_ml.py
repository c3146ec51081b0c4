"""What is borrowed from OpenMM-ML: a keyword that it does not hand on."""

from __future__ import annotations

import sys

from openmmml.mlpotential import MLPotential

from ..errors import UpstreamError

_METHOD = "createMixedSystem"
_VARIABLE = "removeConstraints"


def asked_to_remove_constraints() -> bool:
    """Tell whether ``MLPotential.createMixedSystem`` was called with ``removeConstraints=True``.

    Borrowed: the local variable ``removeConstraints`` in the frame of that method, further up the stack.
    Known of: OpenMM-ML 1.8.
    Reason: OpenMM-ML keeps the keyword to itself and removes the constraints after the potential has built the
    System.  With interpolation the builder must know before, to restore on the force-field side what the constraints
    had replaced, and with several regions or text for atoms OpenMM-ML's own loop finds none.
    Watched by: ``tests/test_mixed_upstream.py``.

    Returns
    -------
    bool
        True, OpenMM-ML's default, where no such method is up the stack: then the potential was called directly.

    Raises
    ------
    UpstreamError
        If the method is there and has no such variable.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == _METHOD and isinstance(frame.f_locals.get("self"), MLPotential):
            if _VARIABLE not in frame.f_locals:
                raise UpstreamError(
                    f"MLPotential.{_METHOD} of the installed OpenMM-ML has no argument {_VARIABLE}, which says whether "
                    "constraints inside the region go. Known to work: openmmml 1.8. Install that release, or use "
                    "openmm_nequip.create_mixed_system.",
                    package="openmmml",
                )
            return bool(frame.f_locals[_VARIABLE])
        frame = frame.f_back  # type: ignore[assignment]
    return True
