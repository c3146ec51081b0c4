"""TorchMD-Net checkpoints (``.ckpt``), and ensembles of them in one archive (``.zip``).

References
----------
``hyper_parameters`` and ``state_dict`` as lightning writes them for TorchMD-Net's ``LNNP``; ensembles as its
``load_ensemble`` takes them.
"""

from __future__ import annotations

import dataclasses
import logging
import zipfile
from typing import Any

import torch

from ...errors import ModelFileError, UpstreamError
from ...upstream.torchmdnet_models import installed, missing
from ..archive import check_archive
from ..base import Model, ModelInfo
from ..execution import Execution
from ..format import TORCHMDNET, TORCHMDNET_ENSEMBLE, Contents, Format
from ..rebuilding import COULOMB, LIMIT, REFERENCE, Settings
from ..source import ModelSource
from ..torchmdnet.ensemble import MEMBER, EnsembleModel, common_info, members_of
from ..torchmdnet.hyperparameters import ARCHITECTURES, Checkpoint, describe, read_checkpoint
from ..torchmdnet.rebuilt_model import open_checkpoint

logger = logging.getLogger(__name__)

_SETTINGS = (COULOMB, LIMIT, REFERENCE)
#: Words that stand in the pickle of every checkpoint of TorchMD-Net, and in that of no other program's.
_WORDS = (b"hyper_parameters", b"state_dict", b"embedding_dimension", b"representation_model")


def recognise(contents: Contents) -> bool:
    """Whether a file is a checkpoint: a file of torch.save whose pickle names what TorchMD-Net's training writes."""
    data = next((n for n in contents.names or () if n.endswith("/data.pkl") and n.count("/") == 1), None)
    if data is None or contents.has("code/"):
        return False
    pickled = contents.read(data)
    return all(word in pickled for word in _WORDS)


def recognise_ensemble(contents: Contents) -> bool:
    """Whether a file is an archive of checkpoints, of which at least one is of TorchMD-Net."""
    members = [name for name in contents.names or () if name.endswith(MEMBER)]
    return any(_is_checkpoint(contents.path, contents.read(name)) for name in members)


def _is_checkpoint(path: str, content: bytes) -> bool:
    try:
        names = check_archive(path, content)
    except (ModelFileError, zipfile.BadZipFile):
        return False
    return recognise(Contents(path, len(content), content[:8], names, content))


def _checkpoints(source: ModelSource) -> list[tuple[str, Checkpoint]]:
    """Name and content of the checkpoint, or of each member of an ensemble."""
    if source.kind == TORCHMDNET:
        return [(source.path, read_checkpoint(source.read(), source.path))]
    named = {f"{source.path}, {name}": content for name, content in members_of(source.read()).items()}
    for name, content in named.items():
        if not _is_checkpoint(name, content):
            raise ModelFileError(f"{name} is no TorchMD-Net checkpoint; an ensemble has no other members", source.path)
    return [(name, read_checkpoint(content, name)) for name, content in named.items()]


def read_info(source: ModelSource) -> ModelInfo:
    """Facts from the hyperparameters; TorchMD-Net is not needed.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or an ensemble.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the file is damaged, predicts no energy, or its members do not belong together.
    """
    return _facts(_checkpoints(source), source)


def read_info_as_run(source: ModelSource, settings: Settings) -> ModelInfo:
    """The same with hyperparameters set otherwise."""
    return _facts(_checkpoints(source), source, settings)


def _facts(found: list[tuple[str, Checkpoint]], source: ModelSource, settings: Settings = ()) -> ModelInfo:
    infos = [describe(checkpoint, name, settings) for name, checkpoint in found]
    return infos[0] if source.kind == TORCHMDNET else common_info(infos, source.path)


def obstacle(source: ModelSource, execution: Execution) -> str:
    """Why a file cannot be run here: TorchMD-Net is not installed, or too old for its architecture.

    Parameters
    ----------
    source : ModelSource
        The file.
    execution : Execution
        Not read.

    Returns
    -------
    str
        Empty if nothing is known to speak against it.
    """
    reason = missing()
    return f"{source.path} is a {source.kind} file and {reason}" if reason else ""


def open_torchmdnet(source: ModelSource, device: torch.device, execution: Execution) -> Model:
    """Open a checkpoint or an ensemble.

    Parameters
    ----------
    source : ModelSource
        The file.
    device : torch.device
        Where to run it.
    execution : Execution
        Its inputs beside the structure, and its settings.

    Returns
    -------
    Model

    Raises
    ------
    ModelFileError
        If TorchMD-Net cannot rebuild it; the message has the reason.
    ImportError
        If TorchMD-Net is not installed.
    """
    found = _checkpoints(source)
    info = _facts(found, source, execution.settings)
    members = [_member(name, checkpoint, device, execution) for name, checkpoint in found]
    return members[0] if source.kind == TORCHMDNET else EnsembleModel(info, device, members)


def _member(name: str, checkpoint: Checkpoint, device: torch.device, execution: Execution) -> Model:
    info = describe(checkpoint, name, execution.settings)
    inputs: dict[str, Any] = dict(execution.inputs)
    if dict(execution.settings).get(REFERENCE) and not checkpoint.parameters.get(REFERENCE):
        logger.warning(
            "removeReferenceEnergy=True changes nothing: %s was not trained on energies less those of free atoms", name
        )
    try:
        model = open_checkpoint(checkpoint, info, device, inputs, execution.settings)
    except UpstreamError as error:
        architecture = checkpoint.parameters["model"]
        newer = "" if architecture in ARCHITECTURES else f"; its architecture {architecture!r} is of a later release"
        raise ModelFileError(f"{name}: {error}{newer}. Install the TorchMD-Net that wrote it", name) from error
    versions = {**info.versions, "torchmd-net (running it)": str(installed())}
    model.info = dataclasses.replace(info, versions=versions)
    return model


FORMAT = Format(
    kind=TORCHMDNET,
    suffix=".ckpt",
    runs_code=False,
    can_compile=False,
    can_fuse=False,
    recognise=recognise,
    read_info=read_info,
    open=open_torchmdnet,
    obstacle=obstacle,
    settings=_SETTINGS,
    read_info_as_run=read_info_as_run,
)
ENSEMBLE_FORMAT = dataclasses.replace(
    FORMAT, kind=TORCHMDNET_ENSEMBLE, suffix=".zip", recognise=recognise_ensemble
)
