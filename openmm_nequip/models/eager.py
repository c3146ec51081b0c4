"""Checkpoints, packages and ``nequip.net:`` models: loaded through nequip and evaluated operation by operation.

Loading these files runs Python code stored in them, as nequip itself does: load only files you trust, or pin their
SHA-256 with ``trusted=``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import torch

from ..choices import NEQUIP_NET
from ..errors import ModelFileError, UpstreamError
from ..graph.fields import collect_outputs, model_inputs
from ..graph.graph import Graph, Outputs
from ..upstream.nequip_models import downloaded
from ..upstream.nequip_state import default_dtype, preserved_global_state
from ..upstream.openmm_messages import says_damaged
from .archive import damaged
from .base import Model, ModelInfo, flat
from .compiling.modifiers import apply_modifiers
from .execution import Execution
from .format import PACKAGE
from .graph_inputs import InputValues, check_inputs, fix_inputs, inputs_of
from .metadata import make_info, package_versions
from .source import ModelSource

#: The private file that nequip is given, in its messages.
_PRIVATE = re.compile(r"\S*openmm-nequip-\w+/model[.\w]*")
#: What nequip's models of energies and forces give.
ALL_OUTPUTS = ("energy", "forces", "atomic_energies", "virial")


class EagerModel(Model):
    """A nequip ``GraphModel`` evaluated eagerly.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    device : torch.device
        Where it is.
    module : torch.nn.Module
        The graph model, in evaluation mode and with frozen parameters.
    """

    def __init__(self, info: ModelInfo, device: torch.device, module: torch.nn.Module) -> None:
        super().__init__(info, device)
        self.module = module

    def _evaluate(self, graph: Graph) -> Outputs:
        data = model_inputs(*flat(graph))
        # nequip works with float64 as default dtype, whatever the precision of the weights; forces come from autograd.
        with default_dtype(torch.float64), torch.inference_mode(False), torch.enable_grad():
            out = self.module(data)
        return collect_outputs(out["total_energy"], out["forces"], out.get("atomic_energy"), out.get("virial"))


def require_nequip() -> None:
    """Raise ImportError with the cure if nequip is not installed."""
    try:
        import nequip  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"this model file can only be read through nequip, which cannot be imported ({error}); "
            "install it with `pip install nequip` (and `nequip-allegro` for Allegro models)"
        ) from error


def fetch(model_id: str) -> str:
    """Path of the local copy of a ``nequip.net:group/model:version`` model, downloaded by nequip at first use.

    Parameters
    ----------
    model_id : str
        The id, with its ``nequip.net:`` prefix.

    Returns
    -------
    str

    Raises
    ------
    ModelFileError
        If nequip cannot find or download it.
    """
    if not model_id.startswith(NEQUIP_NET):
        raise ModelFileError(f"{model_id!r} is no nequip.net id; expected nequip.net:group/model:version")
    with preserved_global_state():
        require_nequip()
        try:
            return downloaded(model_id)
        except UpstreamError:
            raise
        except Exception as error:  # the HTTP client of nequip raises many unrelated types
            raise ModelFileError(
                f"{model_id!r} could not be fetched: {type(error).__name__}: {error}; check the id and the network, or "
                "download the package and give its path"
            ) from error


@contextlib.contextmanager
def named_for_nequip(source: ModelSource) -> Iterator[str]:
    """A file with the identified content whose name ends as nequip demands: it tells a package by its name."""
    with source.private_file(".nequip.zip" if source.kind == PACKAGE else ".ckpt") as path:
        yield path


def _unfit(path: str, mismatch: str) -> str:
    """Words for weights that are not those of the model which nequip builds from the checkpoint's settings."""
    first = next((line.strip() for line in mismatch.splitlines()[1:] if line.strip()), "")
    return (
        f"{path} does not fit the installed nequip {version('nequip')}: the model that it builds from the file's "
        f"settings has other weights than the file ({first[:160]}). Defaults that the settings leave open were others "
        "in the version that trained it, which `openmm-nequip info` shows: make a package with `nequip-package` under "
        "that version, and give the package"
    )


def load_module(source: ModelSource, inputs: InputValues = ()) -> torch.nn.Module:
    """The nequip ``GraphModel`` in a file, on the CPU, in evaluation mode, with frozen parameters.

    EMA weights are used where the training module keeps them, as nequip does.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package.
    inputs : tuple of (str, number), optional
        Values of its inputs beside the structure, which are fixed; without any they are left open.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ModelFileError
        If nequip cannot read the file; the message has nequip's reason.
    ModelInputError
        If an input is missing, unknown to the model or out of its range.
    """
    require_nequip()
    from nequip.model.saved_models.load_utils import load_saved_model
    from nequip.utils.global_state import set_global_state

    set_global_state()
    try:
        with named_for_nequip(source) as path, warnings.catch_warnings():
            # nequip warns of other versions in the checkpoint; `info` shows both, and a real mismatch fails below.
            warnings.simplefilter("ignore")
            module = load_saved_model(path)
    except Exception as error:  # unpickling foreign code can raise anything
        if says_damaged(str(error)):
            raise damaged(source.path, str(error).partition(".")[0]) from error
        if "loading state_dict" in str(error):
            raise ModelFileError(_unfit(source.path, str(error)), source.path) from error
        reason = _PRIVATE.sub(source.path, f"{type(error).__name__}: {error}")
        raise ModelFileError(f"nequip cannot load {source.path}: {reason}", source.path) from error
    _differentiate(module)
    module.eval()
    module.requires_grad_(False)
    if inputs:
        check_inputs(inputs_of(module), inputs, source.path)
        fix_inputs(module, inputs)
    return module


def _differentiate(module: Any) -> None:
    """Let a model that was trained on energies alone compute forces: nequip's own ``enable_ForceStressOutput``."""
    if all(getattr(part, "do_derivatives", True) for part in module.modules()):
        return
    from nequip.model.modify_utils import modify

    modify(module, [{"modifier": "enable_ForceStressOutput"}])


def open_eager(
    source: ModelSource, device: torch.device, execution: Execution, modifiers: Sequence[str] | None = None
) -> EagerModel:
    """Open a checkpoint or package for eager evaluation.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package.
    device : torch.device
        Where to run it.
    execution : Execution
        How; its modifiers are applied.
    modifiers : sequence of str, optional
        Modifiers instead of those of ``execution``.

    Returns
    -------
    EagerModel

    Raises
    ------
    ModelFileError
        If nequip cannot read the file.
    ModifierError
        If a modifier cannot be applied.
    ImportError
        If nequip is not installed.
    """
    names = (execution.modifiers or ()) if modifiers is None else modifiers
    with preserved_global_state():
        module = load_module(source, execution.inputs)
        applied = apply_modifiers(module, names, device, "eager")
        module = module.to(device)
        metadata: Any = module.metadata
        info = make_info(
            metadata, outputs=ALL_OUTPUTS, kernels=" ".join(applied) or "none", inputs=inputs_of(module)
        )
        if source.kind == PACKAGE:
            info = dataclasses.replace(info, versions=package_versions(source))
        return EagerModel(info, device, module)
