"""What is borrowed from OpenMM-ML: a keyword that it does not hand on."""

from __future__ import annotations

import sys
from typing import Any

from openmmml.mlpotential import MLPotential

from ..errors import UnknownNameError, UpstreamError

_METHOD = "createMixedSystem"
_VARIABLE = "removeConstraints"


class _Named(dict):
    """A table of names whose KeyError says which there are."""

    def __init__(self, what: str, known: Any) -> None:
        super().__init__(known)
        self._what = what

    def __missing__(self, name: Any) -> Any:
        known = sorted(each for each in self if "registration" not in each)
        same = [each for each in known if isinstance(name, str) and each.lower() == name.lower()]
        hint = f"did you mean {same[0]!r}? " if same else ""
        raise UnknownNameError(f"{self._what}={name!r} is unknown; {hint}The names are {', '.join(known)}")


def explain_unknown_names(potential_class: Any) -> None:
    """Let ``MLPotential`` say which names there are where it is given another one: it raises a bare KeyError.

    Borrowed: the class attributes ``_implFactories`` and ``_embeddingFactories`` of ``MLPotential``, which become
    dictionaries with another error and are the same otherwise. Known of: OpenMM-ML 1.4 to 1.8. Where they are gone
    nothing is changed. Watched by ``tests/test_bad_inputs.py``.

    Parameters
    ----------
    potential_class : type
        ``openmmml.MLPotential``.
    """
    for attribute, what in (("_implFactories", "MLPotential name"), ("_embeddingFactories", "embedding")):
        table = getattr(potential_class, attribute, None)
        if isinstance(table, dict) and not isinstance(table, _Named):
            setattr(potential_class, attribute, _Named(what, table))


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
