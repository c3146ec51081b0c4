"""Model files of every kind behind one function, :func:`load_model`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..choices import NEQUIP_NET, PYTHON
from ..errors import CompileError, KernelsError, ModelFileError, ModelInputError, ModifierError
from .base import Model, ModelInfo
from .committee_path import CommitteePath, committee_source, with_committee
from .eager import fetch
from .execution import Execution
from .format import TORCHMDNET
from .formats import FORMATS, can_fuse, format_of, identify
from .graph_inputs import check_inputs, parse_inputs, share_inputs
from .modules.declared_path import DeclaredPath
from .opening import check_execution, open_model, read_info
from .rebuilding import OPTIONS, make_settings
from .source import ModelSource, check_trusted, digests_given
from .torch_device import parse_device
from .torchmdnet.ensemble import bundle
from .trust import TRUSTED, trust

#: A group, a model and a version; none of them leads anywhere else.
_ID = re.compile(r"[\w.-]*\w[\w.-]*/[\w.-]*\w[\w.-]*:[\w.-]*\w[\w.-]*")

__all__ = [
    "FORMATS", "CommitteePath", "CompileError", "DeclaredPath", "Execution", "KernelsError", "Model", "ModelFileError",
    "ModelInfo", "ModelInputError", "ModelSource", "ModifierError", "can_fuse", "check_execution", "check_inputs",
    "check_trusted", "format_of", "load_model", "locate", "open_model", "parse_device", "read_info", "share_inputs",
    "trust", "with_committee",
]  # fmt: skip


def locate(
    path: str | os.PathLike[str] | Sequence[str], trusted: str | Iterable[str] | None = None, interface: Any = None
) -> ModelSource:
    """Find a model file, or the local copy of a ``nequip.net:`` id, and tell its kind without running its code.

    Parameters
    ----------
    path : str, path-like or sequence of these
        Local file, ``nequip.net:group/model:version`` or ``python:MODULE:NAME``; a :class:`DeclaredPath` of these
        brings its interface. A :class:`CommitteePath` is a committee, and so is a list of files; of TorchMD-Net
        checkpoints alone a list is an ensemble, which is put into one file in the cache.
    trusted : str or sequence of str, optional
        SHA-256 that the file must have; those of all models of a committee.
    interface : optional
        What a module takes, see :func:`openmm_nequip.models.modules.module_interface.parse_interface`.

    Returns
    -------
    ModelSource

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, of no known kind, or not the trusted one.
    CommitteeError
        If a list has fewer than two files that are no ensemble.
    ModuleError
        If the interface is wrong, or given for a file that is no module.
    TypeError, ValueError
        If ``path`` is no path, or ``trusted`` no SHA-256.
    """
    digests_given(trusted)  # a slip in it is told before a download
    if isinstance(path, (list, tuple)):
        path = _several(path)
    if isinstance(path, CommitteePath):
        shared = next((each.interface for each in path.paths if isinstance(each, DeclaredPath)), interface)
        source = committee_source([_alone(each, shared) for each in path.paths], path.drive)
    else:
        source = _alone(path, interface)
    check_trusted(source, trusted)
    return source


def _alone(path: Any, interface: Any = None) -> ModelSource:
    """One model."""
    if isinstance(path, DeclaredPath):
        interface = path.interface if interface is None else interface
    given: str = os.fspath(_given_path(path))
    if given.startswith(NEQUIP_NET):
        if not _ID.fullmatch(given.removeprefix(NEQUIP_NET)):
            raise ModelFileError(f"{given!r} is no id of a model; give {NEQUIP_NET}group/model:version", given)
        given = fetch(given)
    if given.startswith(PYTHON):
        TRUSTED.add(given)  # the user of this process has named it
    return identify(given, interface)


def _several(paths: Sequence[Any]) -> Any:
    """What a list of paths is: an ensemble of TorchMD-Net checkpoints in one file, else a committee."""
    members = [_alone(each) for each in paths]
    if all(member.kind == TORCHMDNET for member in members):
        return bundle([member.path for member in members])
    return CommitteePath(paths)


def _given_path(path: Any) -> Any:
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise TypeError(f"modelPath={path!r} is no path; give a model file or a nequip.net:group/model:version id")
    return path


def load_model(
    path: str | os.PathLike[str] | Sequence[str] | None,
    device: Any = None,
    compile: bool | None = None,
    trusted: str | Iterable[str] | None = None,
    kernels: str = "auto",
    tables: bool = True,
    **more: Any,
) -> Model:
    """Load a NequIP or Allegro model of any kind.

    Parameters
    ----------
    path : str or path-like
        A training checkpoint (``.ckpt``), a package (``.nequip.zip``), a compiled model (``.nequip.pth``,
        ``.nequip.pt2``), a model deployed by nequip <= 0.6 (``.pth``), a TorchMD-Net checkpoint (``.ckpt``) or ensemble
        (``.zip``, or a list of checkpoints), or a ``nequip.net:group/model:version`` id. A list of others is a
        committee.
        The kind is told by the content. Loading a checkpoint or package runs code stored in it.
    device : str or torch.device, optional
        ``"cpu"`` (default), ``"cuda"`` or ``"cuda:N"``.
    compile : bool, optional
        For checkpoints and packages: False evaluates eagerly; None (default) compiles at first use and falls back to
        eager evaluation with a warning; True raises instead. Compiled kinds ignore it.
    trusted : str, optional
        SHA-256 that the file must have, checked before anything in it runs.
    kernels : str
        For checkpoints, packages and TorchScript files on a CPU: ``"fused"`` runs a model in generated C++, an order
        of magnitude faster, and raises where that cannot be done; ``"none"`` does not; ``"auto"`` (default) does where
        it can and ``compile`` is not False. :attr:`ModelInfo.kernels` says what became of it.
    tables : bool
        Whether fused kernels tabulate the radial networks (default; the error is rounding noise, see
        :mod:`openmm_nequip.kernels.tables`) or evaluate them.
    more
        ``committee``, ``drive``, ``modifiers``, ``modelInputs``, ``moduleInputs`` and the options of TorchMD-Net
        checkpoints, below.
    committee : sequence of str or path-like, optional
        Several models as one: all of them, or those beside ``path``, which then comes first (and may be None where
        all are named). The energy and the forces are the means; ``spread`` and ``energy_spread`` come with them.
    drive : str or int, optional
        ``"mean"`` (default), or ``0``: energy and forces are those of the first.
    modifiers : sequence of str, optional
        For checkpoints and packages: nequip's modifiers to apply, such as ``enable_OpenEquivariance``; they take the
        place of fused kernels. By default, where it is compiled for CUDA, the fastest of those whose library is
        installed, see :mod:`openmm_nequip.models.compiling.modifiers`; ``()`` for none.
    modelInputs : mapping of str to number, optional
        What the model takes beside the structure, such as ``{"charge": 1}``; :attr:`ModelInfo.inputs` names it.
    removeReferenceEnergy, maxNeighbors, coulombCutoff : optional
        For TorchMD-Net checkpoints, see :func:`openmm_nequip.models.rebuilding.make_settings`.
    moduleInputs : str or sequence of str, optional
        For TorchScript files of no known format: what the module takes, in order, see ``docs/modules.md``.

    Returns
    -------
    Model
        Callable on model-unit tensors, with :attr:`Model.info`. The same file, device and mode give the same object,
        while somebody uses it.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, foreign, not the trusted one, or made for another device.
    CommitteeError
        If models do not make a committee.
    CompileError
        If ``compile=True`` and the model cannot be compiled here.
    KernelsError
        If ``kernels="fused"`` and the model cannot be fused here.
    ModelInputError
        If the model needs an input that is not given, or does not know one that is.
    ModifierError
        If a modifier is unknown to the model or cannot be used here.
    ImportError
        If the file needs nequip and nequip is not installed.
    ValueError, TypeError
        If the device is not there, or an option has none of its values.
    """
    rebuilding = tuple(OPTIONS.values())
    known = "committee", "drive", "modifiers", "modelInputs", "moduleInputs", *rebuilding
    unknown = [name for name in more if name not in known]
    if unknown:
        raise TypeError(
            f"load_model got an unexpected keyword argument {', '.join(unknown)}; it takes {', '.join(known)} "
            "beside the arguments of its signature"
        )
    settings = make_settings(**{name: more[name] for name in rebuilding if name in more})
    modifiers, inputs = more.get("modifiers"), parse_inputs(more.get("modelInputs"))
    execution = Execution(device, compile, kernels, tables, modifiers, inputs=inputs, settings=settings)
    path = with_committee(path, more.get("committee"), more.get("drive"))
    return open_model(locate(path, trusted, more.get("moduleInputs")), execution)
