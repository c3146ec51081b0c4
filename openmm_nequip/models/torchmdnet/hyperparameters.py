"""What a TorchMD-Net checkpoint says of itself: read without TorchMD-Net, and without running anything in the file."""

from __future__ import annotations

import argparse
import io
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from ...errors import ModelFileError
from ...upstream.openmm_messages import first_line, says_damaged
from ..archive import damaged
from ..base import ModelInfo
from ..graph_inputs import GraphInput
from ..rebuilding import COULOMB, REFERENCE, Settings
from .data_sets import priors_of, stated_units

#: Architectures that TorchMD-Net 3.1 has, under all names of checkpoints, and those of them that read a total charge.
ARCHITECTURES = (
    "tensornet", "tensornet2", "tensornetv2_alt", "tensornet-nqe", "equivariant-transformer", "graph-network",
    "transformer",
)  # fmt: skip
_CHARGED = ("tensornet", "tensornet2", "tensornetv2_alt", "tensornet-nqe")
#: Output modules whose output is an energy.
_ENERGIES = ("Scalar", "ScalarPlusWeightedCoulomb")
_NEEDED = ("model", "embedding_dimension", "cutoff_upper", "max_z", "output_model")
#: Harmless classes that hyperparameters may hold beside plain values.
_SCALAR = np.float64(0).__reduce__()[0]
_PLAIN_CLASSES: list[Any] = [
    np.dtype, np.ndarray, _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"),
    *{type(np.dtype(code)) for code in "?bhilqBHILQefd"},
    argparse.Namespace, pathlib.PosixPath, pathlib.PurePosixPath,
]  # fmt: skip


class Checkpoint(NamedTuple):
    """A checkpoint's content, on the CPU.

    Parameters
    ----------
    parameters : mapping of str to object
        Hyperparameters.
    weights : mapping of str to torch.Tensor, (...)
        State dictionary.
    versions : mapping of str to str
        Versions that it states.
    """

    parameters: dict[str, Any]
    weights: dict[str, torch.Tensor]
    versions: dict[str, str]


def read_checkpoint(content: bytes, path: str) -> Checkpoint:
    """A checkpoint from its bytes; nothing in it is executed.

    Parameters
    ----------
    content : bytes
        The file.
    path : str
        Its name, for messages.

    Returns
    -------
    Checkpoint

    Raises
    ------
    ModelFileError
        If it is damaged, holds objects that would run code, or lacks what TorchMD-Net writes.
    """
    try:
        with torch.serialization.safe_globals(_PLAIN_CLASSES):
            data = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a foreign file can raise anything
        if says_damaged(str(error)):
            raise damaged(path, str(error).partition(".")[0]) from error
        raise ModelFileError(
            f"{path} holds objects that are neither tensors nor plain values ({first_line(str(error))}); reading "
            "them could run code. Write hyper_parameters and state_dict alone into a new file with torch.save, with "
            "plain values",
            path,
        ) from error
    parameters, weights = (data.get(key) for key in ("hyper_parameters", "state_dict"))
    if isinstance(parameters, argparse.Namespace):
        parameters = vars(parameters)
    lacking = [key for key in _NEEDED if not isinstance(parameters, Mapping) or key not in parameters]
    if lacking or not isinstance(weights, Mapping):
        raise ModelFileError(
            f"{path} is no TorchMD-Net checkpoint: its hyper_parameters lack {', '.join(lacking) or 'a state_dict'}",
            path,
        )
    lightning = data.get("pytorch-lightning_version")
    return Checkpoint(dict(parameters), dict(weights), {} if lightning is None else {"lightning": str(lightning)})


def describe(checkpoint: Checkpoint, path: str, settings: Settings = ()) -> ModelInfo:
    """Facts about a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        What is in it.
    path : str
        The file, for messages.
    settings : tuple of (str, value), optional
        Hyperparameters that are set otherwise.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If it predicts no energy, or states impossible facts.
    """
    parameters = checkpoint.parameters | dict(settings)
    output = parameters["output_model"]
    if output not in _ENERGIES:
        raise ModelFileError(
            f"{path} predicts no potential energy: its output_model is {output!r}; expected {' or '.join(_ENERGIES)}",
            path,
        )
    if COULOMB in dict(settings) and output != _ENERGIES[1]:
        raise ModelFileError(f"{path} has no Coulomb term (output_model is {output!r}); leave coulombCutoff out", path)
    try:
        units, source = stated_units(parameters)
        return ModelInfo(
            type_names=type_names(parameters),
            cutoff=max(_cutoffs(parameters)),
            dtype={16: "float16", 64: "float64", "64": "float64"}.get(parameters.get("precision", 32), "float32"),
            units=units,
            units_source=source,
            units_needed=True,
            target=f"TorchMD-Net: {_title(parameters)}",
            outputs=("energy", "forces", "virial"),
            versions=checkpoint.versions,
            inputs=_inputs(parameters),
            open_only=_why_open_only(parameters),
            periodic_only=_why_periodic_only(parameters),
        )
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}", path) from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelFileError(
            f"{path} has hyper_parameters that cannot be read: {type(error).__name__}: {error}", path
        ) from error


def _title(parameters: Mapping[str, Any]) -> str:
    """Architecture, priors and what else tells a model from another."""
    priors = [name for name, _ in priors_of(parameters)]
    delta = ", trained on energies less those of free atoms" * bool(parameters.get(REFERENCE))
    with_priors = f" with {', '.join(priors)}" if priors else ""
    return f"{parameters['model']}{with_priors}{delta}"


def type_names(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the types that the embedding has, by index: element symbols, since a type is an atomic number.

    A prior may state the atomic numbers of types that are other numbers; then those are named by it.

    Parameters
    ----------
    parameters : mapping of str to object
        Hyperparameters.

    Returns
    -------
    tuple of str
    """
    from ase.data import chemical_symbols

    count = int(parameters["max_z"])
    numbers = list(range(count))
    for _, arguments in priors_of(parameters):
        stated = arguments.get("atomic_number")
        if isinstance(stated, Sequence) and list(stated) != list(range(len(stated))):
            numbers = [int(value) for value in stated][:count]
            numbers += [-1] * (count - len(numbers))
    last = len(chemical_symbols)
    names = [chemical_symbols[z] if 0 < z < last else f"type{index}" for index, z in enumerate(numbers)]
    # Several types of one element have to be given by index.
    return tuple(name if names.count(name) == 1 else f"{name}:{index}" for index, name in enumerate(names))


def _cutoffs(parameters: Mapping[str, Any]) -> Iterator[float]:
    """All finite cutoffs, in model lengths."""
    yield float(parameters["cutoff_upper"])
    if parameters["output_model"] == "ScalarPlusWeightedCoulomb" and parameters.get(COULOMB) is not None:
        yield float(parameters[COULOMB])
    for _, arguments in priors_of(parameters):
        if arguments.get("cutoff_distance") is not None and math.isfinite(float(arguments["cutoff_distance"])):
            yield float(arguments["cutoff_distance"])


def _inputs(parameters: Mapping[str, Any]) -> tuple[GraphInput, ...]:
    """Total charge where the architecture reads one, spin where the training had one, charges for a Coulomb prior.

    TorchMD-Net takes a charge that is not given for zero. That is right for a model that never saw another; one that
    was trained with charges must be told.
    """
    found = []
    if parameters["model"] in _CHARGED:
        found.append(GraphInput("charge", optional=not parameters.get("charge")))
    if any(name == "Coulomb" for name, _ in priors_of(parameters)):
        found.append(GraphInput("partial_charges", per_atom=True))
    if parameters.get("spin"):
        found.append(GraphInput("spin"))
    return tuple(found)


def _why_open_only(parameters: Mapping[str, Any]) -> str:
    """Why the model cannot have a periodic box; empty if it can."""
    if parameters["output_model"] == "ScalarPlusWeightedCoulomb" and parameters.get(COULOMB) is None:
        return (
            "its Coulomb term runs over all pairs (coulomb_cutoff is None), which has no meaning in a periodic box; "
            "give coulombCutoff= (1.2 nm is usual; --coulomb-cutoff on the command line), or take the box away"
        )
    if any(name == "Coulomb" for name, _ in priors_of(parameters)):
        return "its Coulomb prior runs over all pairs, which has no meaning in a periodic box; take the box away"
    return ""


def _why_periodic_only(parameters: Mapping[str, Any]) -> str:
    """Why the model needs a periodic box; empty if it does not."""
    box = parameters.get("box_vecs")
    return "" if box is None else f"it was made for the periodic box {box} (box_vecs); give the structure a box"
