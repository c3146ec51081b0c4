"""What a compiled package carries beside its machine code, so that it can be fused: the model as plain numbers.

A ``.nequip.pt2`` holds machine code, from which nobody can read weights. Those that this package writes have an entry
more, with the program of the model and its own answers; whoever does not know it leaves it alone.
"""

from __future__ import annotations

import base64
import io
import zipfile

import numpy as np

from ..errors import NotFusableError
from ..kernels.program import Program
from ..kernels.program_file import pack_program, unpack_program
from .archive import DAMAGED, entries, read_end
from .own_answers import References
from .source import ModelSource

#: How the name of the entry ends.
ENTRY = "extra/openmm-nequip-program.npz.base64"


def add_program(path: str, program: Program, references: References) -> None:
    """Put a program into a package.

    Parameters
    ----------
    path : str
        The package, which is changed.
    program : Program
        Of the same model.
    references : References
        The model's own answers.
    """
    content = io.BytesIO()
    parts = {"program": pack_program(program), "references": references.pack()}
    np.savez(content, **{name: np.frombuffer(part, dtype=np.uint8) for name, part in parts.items()})  # type: ignore[arg-type]
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        folder = archive.namelist()[0].split("/")[0]
        # torch reads what is under extra/ as text.
        archive.writestr(f"{folder}/{ENTRY}", base64.b64encode(content.getvalue()))


def carries_program(source: ModelSource) -> bool:
    """Whether a package carries a program.

    Parameters
    ----------
    source : ModelSource
        A package compiled ahead of time.

    Returns
    -------
    bool

    Raises
    ------
    ModelFileError
        If the archive is damaged.
    """
    return any(name.endswith(ENTRY) for name in entries(source))


def read_program(source: ModelSource) -> tuple[Program, References]:
    """The program that a package carries, and the model's own answers.

    Parameters
    ----------
    source : ModelSource
        A package for which :func:`carries_program` says so.

    Returns
    -------
    tuple of (Program, References)

    Raises
    ------
    NotFusableError
        If there is none, or one of another release.
    ModelFileError
        If the archive is damaged.
    """
    content = read_end(source, ENTRY)
    if content is None:
        raise NotFusableError("it carries no program of its model")
    try:
        with np.load(io.BytesIO(base64.b64decode(content, validate=True)), allow_pickle=False) as stored:
            program, references = bytes(stored["program"]), References.unpack(bytes(stored["references"]))
    except DAMAGED as error:
        raise NotFusableError(f"the program in it cannot be read ({error}); compile the model again") from error
    return unpack_program(program), references
