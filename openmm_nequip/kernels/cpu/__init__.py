"""Fused models on CPUs: C++ written for the model and for the vectors of this machine, compiled once.

:data:`CPU` is the row that the rest of the package uses.
"""

from __future__ import annotations

from typing import Any

from ...cxx import find_compiler, missing_compiler
from ..backend import Backend, Generated
from ..program import Program
from ..tables import Table
from .build import vector_bytes
from .generate import generate
from .library import Step, open_library
from .stepper import FusedStepper


def _obstacle(device: Any) -> str:
    if device.type != "cpu":
        return f"they run on CPUs, and the device is {device}"
    return "" if find_compiler() else missing_compiler()


def _target() -> str:
    return f"vectors of {vector_bytes()} bytes"


def _build(program: Program, tables: list[Table] | None) -> Generated:
    return generate(program, tables, vector_bytes())


#: Fused models on CPUs.
CPU = Backend("cpu", _target, _build, "cpu", _obstacle, open_library, Step, FusedStepper)
