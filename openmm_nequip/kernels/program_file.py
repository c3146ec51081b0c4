"""Programs as bytes, without pickles: a JSON text of what they are made of, and their arrays.

A program is plain numbers, so a file that holds one can be fused on any machine, without the model and without nequip.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib
from typing import Any

import numpy as np

from ..errors import NotFusableError
from .allegro_program import AllegroProgram, Mlp, Product, Splines
from .mixing_program import EdgePath, EdgeProduct, Envelope, MixingProgram
from .program import Bessel, Block, Gate, Layer, Mix, NequIPProgram, Path, Program, Radial, Repulsion

#: Raised when programs of an earlier release cannot be read any more.
FORMAT = 1
_KINDS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        AllegroProgram, Bessel, Block, EdgePath, EdgeProduct, Envelope, Gate, Layer, MixingProgram, Mix, Mlp,
        NequIPProgram, Path, Product, Radial, Repulsion, Splines,
    )  # fmt: skip
}
_TEXT = "program"
#: What is raised by content that is not as it was written.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError,
    RecursionError,
)  # fmt: skip


def pack_program(program: Program) -> bytes:
    """A program as bytes, for a file.

    Parameters
    ----------
    program : Program
        Of any family.

    Returns
    -------
    bytes
    """
    arrays: list[np.ndarray] = []
    text = json.dumps({"format": FORMAT, "program": _encoded(program, arrays)})
    content = io.BytesIO()
    named = {str(number): array for number, array in enumerate(arrays)}
    np.savez(content, **{_TEXT: np.frombuffer(text.encode(), dtype=np.uint8)}, **named)  # type: ignore[arg-type]
    return content.getvalue()


def unpack_program(content: bytes) -> Program:
    """What :func:`pack_program` gave.

    Parameters
    ----------
    content : bytes
        Of a file; nothing in it is run.

    Returns
    -------
    Program

    Raises
    ------
    NotFusableError
        If it is something else, or of a release with other programs.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            document = json.loads(bytes(stored[_TEXT]))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']}, this release reads {FORMAT}")
            program = _decoded(document["program"], stored)
    except _DAMAGED as error:
        raise NotFusableError(f"the program in it cannot be read ({error}); compile the model again") from error
    if not isinstance(program, Program):
        raise NotFusableError(f"it holds a {type(program).__name__} where a program was expected")
    return program


def _encoded(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop]}
    name = type(value).__name__
    if _KINDS.get(name) is type(value):
        named: Any = value
        fields = named._fields if isinstance(value, tuple) else [field.name for field in dataclasses.fields(named)]
        return {"kind": name} | {field: _encoded(getattr(value, field), arrays) for field in fields}
    if isinstance(value, tuple):
        return {"tuple": [_encoded(each, arrays) for each in value]}
    if isinstance(value, list):
        return [_encoded(each, arrays) for each in value]
    return value


def _decoded(value: Any, arrays: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each, arrays) for each in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[str(value["array"])]
    if "slice" in value:
        return slice(*value["slice"])
    if "tuple" in value:
        return tuple(_decoded(each, arrays) for each in value["tuple"])
    kind = _KINDS[value["kind"]]
    return kind(**{field: _decoded(each, arrays) for field, each in value.items() if field != "kind"})
