"""Packages of ``nequip-package`` (``.nequip.zip``): a torch.package archive with the model and the code it needs.

References
----------
Entries as written by nequip's ``scripts/package.py``.
"""

from __future__ import annotations

from typing import Any

from ..archive import read_end
from ..base import ModelInfo
from ..eager import ALL_OUTPUTS, open_eager
from ..format import PACKAGE, Contents, Format
from ..graph_inputs import inputs_of_fields
from ..metadata import make_info, package_versions
from ..source import ModelSource
from .peek import embedded_fields, peek, state_of


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
    content = read_end(source.path, "/model/eager_model.pkl")
    try:
        model = _graph_model(peek(content or b""))
        metadata = {key: str(value) for key, value in state_of(model)["_metadata"].items()}
        inputs = inputs_of_fields(state_of(model).get("model_input_fields", ()), embedded_fields(model))
        return make_info(metadata, outputs=ALL_OUTPUTS, versions=package_versions(source.path), inputs=inputs)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _graph_model(thing: Any) -> Any:
    """The GraphModel in a dictionary of modules, or the thing itself."""
    state = state_of(thing)
    if "_metadata" in state:
        return thing
    inside = state["_modules"]
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
)
