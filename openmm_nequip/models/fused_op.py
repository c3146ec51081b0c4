"""Fused kernels as a torch operator and a nequip module, so that ``nequip-compile`` can put them into its packages.

A package compiled with the modifier holds the C++ source, the weights and the constants; the library is built by the
machine that runs it, once. Importing this module registers the operator; nequip does so before it loads such a package
(``_nequip_custom_ops_libs``).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import ModelFileError, ModifierError
from ..graph.fields import (
    ATOMIC_ENERGY,
    CELL,
    EDGE_INDEX,
    FORCES,
    POSITIONS,
    SHIFTS,
    STRESS,
    TOTAL_ENERGY,
    TYPES,
    VIRIAL,
)
from ..kernels.backend import Generated
from ..kernels.cpu.library import EDGES_PER_THREAD, Step
from ..kernels.fuse import Fused, fuse
from ..upstream.nequip_state import default_dtype
from .fused import open_kernels
from .metadata import KERNELS_KEY
from .operator_errors import keep_operator_error
from .own_answers import References, make_references

#: Names for ``nequip-compile --modifiers``, and whether the radial networks are tabulated.
MODIFIERS = {"enable_FusedKernels": True, "enable_FusedKernelsExact": False}
_EARLIER, _NAME = "openmm_nequip::fused", "openmm_nequip::fused_checked"
#: Source, weights, constants, and the answers of the model.
_PARTS = 4


class _Steps:
    """The steps of all packages in this process; a step's memory serves one call at a time."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._steps: dict[str, Step] = {}
        self._compared: set[tuple[str, ...]] = set()

    def get(self, key: str, parts: Sequence[torch.Tensor]) -> Step:
        """The step of this content (source, weights, constants, references), built now if it is the first call.

        Raises
        ------
        ModelFileError
            If the content is not that of its digest, or brings no answers to compare a library with.
        """
        # A package's tensors stay where they are, so their content is compared with the digest once.
        places = (key, *(str(tensor.data_ptr()) for tensor in parts))
        if places not in self._compared:
            self._compare(key, parts)
            self._compared.add(places)
        step = self._steps.get(key)
        if step is None:
            source, weights, constants, references = (tensor.numpy() for tensor in parts)
            code = Generated(source.tobytes().decode(), weights, constants)
            answers = References.unpack(references.tobytes())
            step = self._steps[key] = Step(open_kernels(code, references=answers))
        return step

    def _compare(self, key: str, parts: Sequence[torch.Tensor]) -> None:
        if _digest([tensor.numpy() for tensor in parts]) != key:
            raise ModelFileError(
                "the fused kernels in the compiled model are damaged: their content is not that of their SHA-256; copy "
                "the .nequip.pt2 again, or compile the .ckpt or .nequip.zip again"
            )
        if len(parts) < _PARTS:
            raise ModelFileError(
                "the compiled model has fused kernels of an earlier release in it, without answers of the model itself "
                "to compare them with on this machine; compile the .ckpt or .nequip.zip again"
            )


def _digest(arrays: Sequence[np.ndarray]) -> str:
    """SHA-256 of all that makes kernels what they are."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


_STEPS = _Steps()

_STRUCTURE = "Tensor pos, Tensor types, Tensor edge_index, Tensor shifts, Tensor cell"
_CODE = "Tensor source, Tensor weights, Tensor constants"
_ANSWER = "(Tensor, Tensor, Tensor)"
# The first is that of packages of earlier releases, which bring no answers of the model to compare a library with: it
# is there so that they load, and say so.
torch.library.define(_EARLIER, f"({_STRUCTURE}, {_CODE}, str key) -> {_ANSWER}")
torch.library.define(_NAME, f"({_STRUCTURE}, {_CODE}, Tensor references, str key) -> {_ANSWER}")


def _fused(pos, types, edge_index, shifts, cell, *code):
    *parts, key = code
    threads = max(1, min(torch.get_num_threads(), edge_index.shape[1] // EDGES_PER_THREAD))
    inputs = pos.double(), types.view(-1).long(), edge_index.long(), shifts.double(), cell.view(3, 3).double()
    try:
        with _STEPS.lock:
            step = _STEPS.get(key, parts)
            found = step(*[tensor.contiguous().numpy() for tensor in inputs], -threads)
    except Exception as error:
        keep_operator_error(error)
        raise
    return tuple(torch.from_numpy(array) for array in found)


def _fused_shapes(pos, *_):
    double = {"dtype": torch.float64}
    return pos.new_empty((pos.shape[0],), **double), pos.new_empty(pos.shape, **double), pos.new_empty((3, 3), **double)


for _name in (_EARLIER, _NAME):
    torch.library.impl(_name, "cpu", _fused)
    torch.library.register_fake(_name, _fused_shapes)


class FusedOutput(torch.nn.Module):
    """Stands in for nequip's ForceStressOutput and everything inside it.

    Parameters
    ----------
    original : torch.nn.Module
        The ForceStressOutput.
    fused : Fused
        The same model, fused.
    references : References
        The model's own answers, with which every machine compares the library that it compiles.
    """

    _nequip_custom_ops_libs = ("openmm_nequip.models.fused_op",)
    _is_graph_module_mixin = True

    def __init__(self, original: Any, fused: Fused, references: References) -> None:
        super().__init__()
        self.irreps_in, self.irreps_out = original.irreps_in, original.irreps_out
        source = np.frombuffer(fused.source.encode(), dtype=np.uint8).copy()
        self.register_buffer("source", torch.from_numpy(source))
        self.register_buffer("weights", torch.from_numpy(fused.weights.copy()))
        self.register_buffer("constants", torch.from_numpy(fused.constants.copy()))
        answers = np.frombuffer(references.pack(), dtype=np.uint8).copy()
        self.register_buffer("references", torch.from_numpy(answers))
        self.key = _digest([source, fused.weights, fused.constants, answers])
        self.summary = fused.summary

    def _get_metadata_contributions(self) -> dict[str, str]:
        """What nequip-compile writes into the file beside its own metadata."""
        return {KERNELS_KEY: self.summary}

    def forward(self, data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """nequip's fields in, with energies, forces, virial and stress out.

        Parameters
        ----------
        data : dict of str to torch.Tensor
            One structure: positions (n_atoms, 3), types, edge_index, shifts and cell.

        Returns
        -------
        dict of str to torch.Tensor
            The same with ``atomic_energy`` (n_atoms, 1), ``total_energy`` (1, 1), ``forces`` (n_atoms, 3), ``virial``
            and ``stress`` (1, 3, 3).

        Raises
        ------
        ModifierError
            If a field is missing: the targets of LAMMPS' pair_allegro give no cell.
        """
        missing = [name for name in (POSITIONS, TYPES, EDGE_INDEX, SHIFTS, CELL) if name not in data]
        if missing:
            raise ModifierError(
                f"modifiers: the fused kernels need {', '.join(missing)}, which this compile target does not give; "
                "they run in Python (--target ase, openmm, openmm-full), so leave the modifier out for LAMMPS"
            )
        cell = data[CELL].view(3, 3)
        energies, forces, virial = torch.ops.openmm_nequip.fused_checked(
            data[POSITIONS], data[TYPES], data[EDGE_INDEX], data[SHIFTS], cell,
            self.source, self.weights, self.constants, self.references, self.key,
        )  # fmt: skip
        volume = (cell[0] * torch.linalg.cross(cell[1], cell[2])).sum().abs()
        return data | {
            ATOMIC_ENERGY: energies.view(-1, 1),
            TOTAL_ENERGY: energies.sum().view(1, 1),
            FORCES: forces,
            VIRIAL: virial.view(1, 3, 3),
            STRESS: -(virial / volume).view(1, 3, 3),
        }


def enable(model: Any, tables: bool) -> Any:
    """Let the fused kernels compute a model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU; changed in place.
    tables : bool
        Whether the radial networks are tabulated.

    Returns
    -------
    torch.nn.Module
        The same object.

    Raises
    ------
    NotFusableError
        If the model has a part that the kernels do not know.
    BuildError
        If they cannot be compiled here.
    """
    was_training = model.training
    model.eval()
    with default_dtype(torch.float64):
        fused = fuse(model, tables)
    references = make_references(model, {key: str(value) for key, value in model.metadata.items()})
    open_kernels(fused, references=references)
    model.model = FusedOutput(model.model, fused, references)
    return model.train(was_training)
