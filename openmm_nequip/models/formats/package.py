"""Packages of ``nequip-package`` (``.nequip.zip``): a torch.package archive with the model and the code it needs.

References
----------
Entries as written by nequip's ``scripts/package.py``.
"""

from __future__ import annotations

from typing import Any

from ...errors import ModelFileError
from ..ages import parse_version
from ..archive import find_entry, read_end
from ..base import ModelInfo
from ..compiling.aot import package_version
from ..eager import ALL_OUTPUTS, open_eager
from ..execution import Execution
from ..format import PACKAGE, Contents, Format
from ..graph_inputs import inputs_of_fields
from ..metadata import make_info, package_versions
from ..source import ModelSource
from .peek import embedded_fields, peek, state_of

#: The nequip from which on packages state their facts as text.
NEW_FORM = (0, 8)


def recognise(contents: Contents) -> bool:
    """Whether a file is one."""
    return contents.has("model/package_metadata")


def read_info(source: ModelSource) -> ModelInfo | None:
    """Facts that the pickled GraphModel carries; None where it is not as nequip writes it.

    Parameters
    ----------
    source : ModelSource
        The file.

    Returns
    -------
    ModelInfo or None

    Raises
    ------
    ModelFileError
        If the file is damaged.
    """
    content = read_end(source, "/model/eager_model.pkl")
    try:
        model = _graph_model(peek(content or b""))
        metadata = {key: str(value) for key, value in _metadata(model).items()}
        inputs = inputs_of_fields(state_of(model).get("model_input_fields", ()), embedded_fields(model))
        return make_info(metadata, outputs=ALL_OUTPUTS, versions=package_versions(source), inputs=inputs)
    except ModelFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None


def obstacle(source: ModelSource, execution: Execution) -> str:
    """Why the installed nequip cannot load a package: those of nequip 0.7 state their facts in another form.

    Parameters
    ----------
    source : ModelSource
        The file.
    execution : Execution
        Not used: it cannot on any device.

    Returns
    -------
    str
        Empty if nothing is known to speak against it.
    """
    installed = package_version("nequip")
    old = find_entry(source, "/model/package_metadata.pkl") is not None
    if not old or (parse_version(installed) or NEW_FORM) < NEW_FORM:
        return ""
    return (
        f"{source.path} was packaged by nequip 0.7, in a form that later versions do not read (nequip {installed} is "
        "installed); make the package anew from its checkpoint with nequip 0.8 or later, or compile it under nequip "
        "0.7 (`nequip-compile ... .nequip.pth`) and give that file"
    )


def _metadata(thing: Any) -> dict[str, Any]:
    """nequip's metadata of a GraphModel, which nequip 0.8 keeps under another name; empty for another module."""
    state = state_of(thing)
    found = state.get("_metadata", state.get("metadata"))
    return found if isinstance(found, dict) else {}


def _graph_model(thing: Any) -> Any:
    """The GraphModel in a dictionary of modules, or the thing itself."""
    if _metadata(thing):
        return thing
    inside = state_of(thing)["_modules"]
    return _graph_model(inside.get("sole_model") or next(iter(inside.values())))


FORMAT = Format(
    kind=PACKAGE,
    suffix=".nequip.zip",
    runs_code=True,
    can_compile=True,
    can_fuse=True,
    recognise=recognise,
    read_info=read_info,
    open=open_eager,
    obstacle=obstacle,
)
