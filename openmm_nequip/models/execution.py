"""How a model is to be run: one frozen object that checks itself, travels with a System and is the key of caches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ..choices import CUDA_GRAPHS, KERNELS
from ..errors import CudaGraphError, ModifierError
from .graph_inputs import InputValues, parse_inputs
from .rebuilding import Settings, parse_settings

_DEVICE = re.compile(r"(cpu|cuda)(:\d+)?")


@dataclass(frozen=True)
class Execution:
    """How a model is to be run; the same file and the same execution are the same model.

    Parameters
    ----------
    device : str, optional
        ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, or a ``torch.device``; None follows the Context.
    compile : bool, optional
        For checkpoints and packages: False evaluates them eagerly, True is an error where they cannot be compiled,
        None compiles at first use and falls back to eager evaluation with a warning.
    kernels : str
        ``"fused"``: generated C++ or an error; ``"none"``: without; ``"auto"``: where it can be, unless ``compile`` is
        False.
    tables : bool
        Whether fused kernels tabulate the radial networks (default) or evaluate them.
    modifiers : sequence of str, optional
        nequip's modifiers to apply; None for the installed ones where a model is compiled for CUDA.
    cuda_graphs : bool or str
        Whether steps on a CUDA device are replayed from a CUDA graph: ``"auto"``, True or False.
    inputs : mapping of str to number, optional
        Inputs of the model beside the structure, such as ``{"charge": 1}``; kept as pairs in the order of the names.
    settings : mapping of str to value, optional
        Hyperparameters of a checkpoint to set otherwise, see :mod:`openmm_nequip.models.rebuilding`.

    Raises
    ------
    ValueError, TypeError
        If a value is none of those above; the message has the value and what may be given.
    ModelInputError
        If the value of an input is not finite.
    ModifierError
        If modifiers and fused kernels are asked for together.
    CudaGraphError
        If CUDA graphs are asked for on a device that has none.
    """

    device: str | None = None
    compile: bool | None = None
    kernels: str = "auto"
    tables: bool = True
    modifiers: tuple[str, ...] | None = None
    cuda_graphs: bool | str = "auto"
    inputs: InputValues = ()
    settings: Settings = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", _device(self.device))
        object.__setattr__(self, "modifiers", _modifiers(self.modifiers))
        object.__setattr__(self, "inputs", parse_inputs(self.inputs))
        object.__setattr__(self, "settings", parse_settings(self.settings))
        _flag("compile", self.compile, optional=True)
        _flag("tables", self.tables)
        if self.kernels not in KERNELS:
            raise ValueError(f"kernels={self.kernels!r} is unknown; use one of {', '.join(map(repr, KERNELS))}")
        if not any(self.cuda_graphs is choice or self.cuda_graphs == choice == "auto" for choice in CUDA_GRAPHS):
            raise ValueError(f"cudaGraphs={self.cuda_graphs!r} is unknown; use 'auto', True or False")
        if self.modifiers and self.kernels == "fused":
            raise ModifierError(
                f"modifiers={list(self.modifiers)} and kernels='fused' exclude each other; give one of them"
            )
        if self.cuda_graphs is True and self.device is not None and not self.device.startswith("cuda"):
            raise CudaGraphError(
                f"cudaGraphs=True, but the model runs on the device {self.device!r}: only CUDA devices have CUDA "
                "graphs; run it on one (the CUDA platform, or device='cuda'), or leave cudaGraphs out"
            )

    def on(self, device: Any) -> Execution:
        """The same execution on a device.

        Parameters
        ----------
        device : torch.device or str
            Where.

        Returns
        -------
        Execution
        """
        return replace(self, device=str(device))

    @property
    def wants_fused(self) -> bool:
        """Whether fused kernels are to be tried."""
        return self.kernels == "fused" or (self.kernels == "auto" and self.compile is not False and not self.modifiers)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for files."""
        data = asdict(self)
        for name in ("inputs", "settings"):
            if data[name]:
                data[name] = dict(data[name])
            else:
                del data[name]  # earlier releases, which know none, read the rest
        return data | {"modifiers": None if self.modifiers is None else list(self.modifiers)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Execution:
        """What :meth:`as_dict` gave."""
        return cls(**data)


def _device(device: Any) -> str | None:
    if device is None:
        return None
    name = str(device)
    if not _DEVICE.fullmatch(name):
        known = name.split(":")[0] in ("mps", "xpu", "hip", "meta", "vulkan")
        raise ValueError(
            f"device={name!r} is {'not supported' if known else 'no torch device'}; use 'cpu', 'cuda' or 'cuda:N'"
        )
    return name


def _modifiers(modifiers: Sequence[str] | None) -> tuple[str, ...] | None:
    if modifiers is None:
        return None
    listed = isinstance(modifiers, Iterable) and not isinstance(modifiers, (str, bytes))
    if not listed or not all(isinstance(name, str) for name in modifiers):
        raise TypeError(f"modifiers={modifiers!r}: give a list of names such as ['enable_OpenEquivariance'], or None")
    return tuple(modifiers)


def _flag(name: str, value: Any, optional: bool = False) -> None:
    if isinstance(value, bool) or (optional and value is None):
        return
    raise TypeError(f"{name}={value!r} is neither True nor False" + " nor None" * optional)
