"""Readers: from a model's modules to a :class:`Program`, one row for each family of models.

A new family of models is one file beside :mod:`.nequip`, with ``recognises`` and ``read``, and one row of
:data:`READERS`; everything after the :class:`Program` is shared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import NotFusableError, UpstreamError
from ..program import Program
from . import allegro, early_allegro, early_nequip, nequip


@dataclass(frozen=True)
class Reader:
    """How a family of models is read.

    Parameters
    ----------
    name : str
        The family, for messages.
    recognises : callable
        Model -> whether it belongs to the family; asks for the names of classes alone.
    read : callable
        Model -> :class:`Program`; raises :class:`NotFusableError` naming the part that is not known.
    """

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any], Program]


#: Readers in the order in which they are asked.
READERS = (
    Reader("nequip of versions up to 0.6", early_nequip.recognises, early_nequip.read),
    Reader("allegro of nequip up to 0.6", early_allegro.recognises, early_allegro.read),
    Reader("nequip", nequip.recognises, nequip.read),
    Reader("allegro", allegro.recognises, allegro.read),
)


def read_model(model: Any) -> Program:
    """Read a model with the reader of its family.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.

    Returns
    -------
    Program

    Raises
    ------
    NotFusableError
        If it belongs to no family that is known, or has a part that is not known.
    """
    for reader in READERS:
        if reader.recognises(model):
            try:
                return reader.read(model)
            except UpstreamError as error:
                raise NotFusableError(str(error)) from error
            except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
                if isinstance(error, NotFusableError):
                    raise
                text = (str(error).splitlines() or ["no message"])[0]
                raise NotFusableError(
                    f"its modules are not built as those that the reader of {reader.name} knows "
                    f"({type(error).__name__}: {text})"
                ) from error
    known = " and ".join(reader.name for reader in READERS)
    kinds = [type(module).__name__ for module in model.modules()]
    raise NotFusableError(
        f"its modules ({', '.join(dict.fromkeys(kinds))}) belong to no model of a family that is known: {known}"
    )
