"""TorchScript modules that are not nequip's, such as those of GROMACS' NNPot: files (``.pt``) with declared inputs.

References
----------
``torchmodel.cpp`` in ``src/gromacs/applied_forces/nnpot`` of GROMACS, for ``extension_libs``.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

import torch

from ...errors import ModelFileError, ModuleError
from ...upstream.openmm_messages import first_line, says_damaged
from ..archive import damaged, entries, read_end, read_entry
from ..base import ModelInfo
from ..execution import Execution
from ..format import MODULE, Contents, Format
from ..graph_inputs import GraphInput
from ..modules.module_interface import (
    CHARGE,
    CHARGES,
    ENERGY,
    FORCES,
    SPIN,
    USUAL_OUTPUTS,
    Interface,
    parse_interface,
)
from ..modules.module_model import ModuleModel
from ..source import ModelSource
from ..trust import TRUSTED
from .peek import parameter_dtype, peek

#: Extra file with the paths of libraries to load before the module, joined by colons.
_LIBRARIES = "extension_libs"
_FORWARD = re.compile(r"def forward\(self[^,)]*,?\s*(.*?)\)\s*->", re.DOTALL)


def recognise(contents: Contents) -> bool:
    """Never by its content: what it takes must be declared."""
    return False


def takes(source: ModelSource) -> str:
    """What the module's forward takes, in words; nothing of the file runs."""
    name = ""
    try:
        module = type(peek(read_end(source, "/data.pkl") or b""))
        *folders, name = f"{module.__module__}.{module.__name__}".split(".")
        text = (read_end(source, f"/code/{'/'.join(folders)}.py") or b"").decode(errors="replace")
    except (ValueError, ModelFileError):
        return "what it takes cannot be told from the file"
    found = _FORWARD.search(text.partition(f"class {name}(")[2])
    if not found:
        return "what it takes cannot be told from the file"
    names = [part.partition(":")[0].strip() for part in re.split(r",\s*(?![^\[]*\])", found[1]) if part.strip()]
    return f"its forward takes {', '.join(names) or 'nothing'}"


def interface_of(source: ModelSource) -> Interface:
    """The declared interface of a source.

    Raises
    ------
    ModuleError
        If there is none.
    """
    if not source.interface:
        raise ModuleError(
            f"{source.path} is a potential of no known format: say what it takes, in order, as moduleInputs= "
            "(--module-inputs), such as moduleInputs='positions,numbers,box,pbc'",
            path=source.path,
        )
    return parse_interface(source.interface)


def info_of(interface: Interface, dtype: str, **more: Any) -> ModelInfo:
    """Facts about a module with an interface.

    Parameters
    ----------
    interface : Interface
        What it takes and gives.
    dtype : str
        ``"float32"`` or ``"float64"``: precision of its own tensors, where nothing else is declared.
    more
        Further fields of :class:`ModelInfo`.

    Returns
    -------
    ModelInfo
    """
    outputs = [ENERGY, FORCES, *(name for name in interface.outputs if name not in (ENERGY, FORCES))]
    return ModelInfo(
        type_names=interface.type_names,
        cutoff=interface.cutoff,
        dtype=dtype if interface.dtype == "own" else interface.dtype,
        units=interface.units,
        takes_box=interface.is_periodic,
        units_needed=interface.units is None,
        outputs=tuple(name.replace("-", "_") for name in outputs),
        embeds=interface.embeds,
        takes_charges=CHARGES in interface.kinds,
        inputs=tuple(GraphInput(kind) for kind in (CHARGE, SPIN) if kind in interface.kinds),
        **more,
    )


def read_info(source: ModelSource) -> ModelInfo:
    """Facts from the declaration, and the precision of the module's tensors; nothing of the file runs.

    Parameters
    ----------
    source : ModelSource
        The file with its interface.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModuleError
        If its inputs are not declared.
    """
    interface = interface_of(source)
    try:
        found = parameter_dtype(peek(read_end(source, "/data.pkl") or b""))
    except ValueError:
        found = None
    # A module without parameters: GROMACS gives single precision, and nothing speaks against double elsewhere.
    dtype = found or ("float32" if interface.is_gromacs else "float64")
    return info_of(interface, dtype, compiled=True, target="torchscript")


def obstacle(source: ModelSource, execution: Execution) -> str:
    """Why the file cannot be opened here: libraries that it names and nobody trusts."""
    libraries = libraries_of(source)
    if libraries and source.sha256 not in TRUSTED:
        return (
            f"module file {source.path} names libraries to be loaded with it ({', '.join(libraries)}), which run code "
            f"of their own; nothing was loaded. If you trust them, give trusted={source.sha256!r} (--trusted), or call "
            "openmm_nequip.trust with it"
        )
    return ""


def libraries_of(source: ModelSource) -> list[str]:
    """Paths of the libraries that a file names."""
    for name in entries(source):
        if name.endswith(f"/extra/{_LIBRARIES}"):
            return [part for part in read_entry(source, name).decode(errors="replace").split(":") if part.strip()]
    return []


def open_module(source: ModelSource, device: torch.device, execution: Execution) -> ModuleModel:
    """Open a module on ``device``.

    Parameters
    ----------
    source : ModelSource
        A TorchScript file with its interface; trusted, if it names libraries.
    device : torch.device
        Where to run it.
    execution : Execution
        Its charge and spin.

    Returns
    -------
    ModuleModel

    Raises
    ------
    ModelFileError
        If the file is damaged or cannot be loaded.
    ModuleError
        If its signature is not what is declared.
    """
    interface, info = interface_of(source), read_info(source)
    for library in libraries_of(source):
        try:
            torch.ops.load_library(library)
        except Exception as error:  # the loader raises anything
            raise ModelFileError(
                f"module file {source.path}: its library {library} cannot be loaded ({first_line(str(error))})",
                source.path,
            ) from error
    try:
        module = torch.jit.load(io.BytesIO(source.read()), map_location=device)
    except Exception as error:  # torch raises anything on a foreign file
        if says_damaged(str(error)):
            raise damaged(source.path, str(error).partition(".")[0]) from error
        raise ModelFileError(
            f"module file {source.path} cannot be loaded by torch {torch.__version__} ({type(error).__name__}: "
            f"{first_line(str(error))}); save it again, with a torch of about this version",
            source.path,
        ) from error
    module.eval()
    outputs, nullable = _signature(module, interface, source.path)
    interface = dataclasses.replace(interface, outputs=outputs)
    info = info_of(interface, info.dtype, compiled=True, target="torchscript")
    return ModuleModel(
        info, device, interface, module, source.path, values=dict(execution.inputs), nullable=nullable
    )


def _signature(module: Any, interface: Interface, path: str) -> tuple[tuple[str, ...], list[bool]]:
    """Outputs of a scripted module, and which of its arguments may be None, after comparing it with the declaration."""
    if not hasattr(module, "forward"):
        raise ModuleError(f"{path} has no method forward, so it is no potential", path=path)
    schema = module.forward.schema
    arguments = schema.arguments[1:]
    named = ", ".join(f"{each.name}: {each.type}" for each in arguments) or "nothing"
    needed = [each for each in arguments if not each.has_default_value()]
    if not len(needed) <= len(interface.inputs) <= len(arguments):
        raise ModuleError(
            f"{path} takes {len(arguments)} inputs ({named}), and {len(interface.inputs)} are declared "
            f"({interface.text}); declare each of them in order",
            "inputs", path,
        )  # fmt: skip
    given = list(zip(interface.inputs, arguments, strict=False))
    for each, argument in given:
        if str(argument.type) not in ("Tensor", "Optional[Tensor]"):
            raise ModuleError(
                f"{path}: its input {argument.name} is a {argument.type}, expected a Tensor for {each.name}", each.name,
                path,
            )  # fmt: skip
    returned = schema.returns[0].type
    count = len(returned.elements()) if returned.kind() == "TupleType" else 1
    outputs = interface.outputs or USUAL_OUTPUTS[:count]
    if returned.kind() in ("TensorType", "TupleType", "FloatType") and len(outputs) != count:
        raise ModuleError(
            f"{path} gives {count} outputs ({returned}), and {len(outputs)} are declared ({', '.join(outputs)}); "
            "declare each of them in order, such as outputs=energy+forces+virial",
            "outputs", path,
        )  # fmt: skip
    return outputs, [str(argument.type) == "Optional[Tensor]" for _, argument in given]


FORMAT = Format(
    kind=MODULE,
    suffix=".pt",
    runs_code=False,
    can_compile=False,
    can_fuse=False,
    recognise=recognise,
    read_info=read_info,
    obstacle=obstacle,
    open=open_module,
)
