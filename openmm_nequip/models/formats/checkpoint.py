"""Training checkpoints of nequip >= 0.7 (``.ckpt``).

References
----------
``hyper_parameters`` as written by lightning, their form by nequip's ``train/lightning.py`` and ``scripts/train.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from ...errors import ModelFileError
from ..ages import altered_by, differs
from ..archive import read_end
from ..base import ModelInfo
from ..compiling.aot import package_version
from ..eager import ALL_OUTPUTS, open_eager
from ..execution import Execution
from ..format import CHECKPOINT, Contents, Format
from ..graph_inputs import inputs_of_fields
from ..metadata import parse_cutoffs
from ..source import ModelSource
from .peek import peek


def recognise(contents: Contents) -> bool:
    """Whether a file is one: a file of torch.save whose pickle names what nequip's training writes."""
    data = next((n for n in contents.names or () if n.endswith("/data.pkl") and n.count("/") == 1), None)
    if data is None or contents.has("code/"):
        return False
    pickled = contents.read(data)
    return all(word in pickled for word in (b"state_dict", b"info_dict", b"training_module"))


def read_info(source: ModelSource) -> ModelInfo | None:
    """Facts from the hyperparameters; None where they do not name the types, as after fine-tuning from a package.

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
    parameters = _parameters(source)
    try:
        config = _model_config(parameters["model"])
        facts = _facts(config)
        names = facts["type_names"].split()
        return ModelInfo(
            type_names=tuple(names),
            cutoff=float(facts["r_max"]),
            dtype=facts["model_dtype"],
            per_edge_type_cutoff=parse_cutoffs(facts.get("per_edge_type_cutoff"), tuple(names)),
            outputs=ALL_OUTPUTS,
            versions=_versions(parameters),
            inputs=inputs_of_fields((), _embedded(config)),
        )
    except ModelFileError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def obstacle(source: ModelSource, execution: Execution) -> str:
    """Why the installed nequip would give a checkpoint other energies than the one that trained it.

    Parameters
    ----------
    source : ModelSource
        The file.
    execution : Execution
        Not used: it would on every device.

    Returns
    -------
    str
        Empty if it would not, as far as is known.
    """
    parameters = _parameters(source)
    installed = package_version("nequip")
    try:
        made_with = _versions(parameters).get("nequip")
        config = _model_config(parameters["model"])
        changes = altered_by(config, made_with, installed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    if not changes:
        return ""
    return (
        f"{source.path} was trained with nequip {made_with}, and nequip {installed} would give it other energies: "
        f"{'; '.join(changes)}. Package it with `nequip-package` under nequip {made_with}, or install that version"
    )


def warn_of_age(source: ModelSource) -> None:
    """Say if a checkpoint was trained with another version of nequip than the installed one.

    Parameters
    ----------
    source : ModelSource
        The file.
    """
    made_with = _versions(_parameters(source)).get("nequip")
    installed = package_version("nequip")
    if differs(made_with, installed):
        warnings.warn(
            f"{source.path} was trained with nequip {made_with} and is computed with {installed}; no change between "
            "the two is known to alter its energies, but only a package (`nequip-package` under the training version) "
            "is sure to keep them",
            RuntimeWarning,
            stacklevel=2,
        )


def _parameters(source: ModelSource) -> Mapping[str, Any]:
    """The hyperparameters; empty where they cannot be read without running the file's code."""
    try:
        return peek(read_end(source, "/data.pkl") or b"")["hyper_parameters"]
    except (ValueError, KeyError, TypeError):
        return {}


def _versions(parameters: Mapping[str, Any]) -> dict[str, str]:
    stated = (parameters.get("info_dict") or {}).get("versions") or {}
    return {key: str(value) for key, value in stated.items() if value is not None}


def _model_config(config: Any) -> Mapping[str, Any]:
    """The innermost configuration that names the types: modifiers are written around a model."""
    while "type_names" not in config and isinstance(config.get("model"), dict):
        config = config["model"]
    return config


def _embedded(config: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Fields of the graph that are embedded beside the atom types, with the lowest and highest value."""
    embedded = config.get("categorical_graph_field_embed") or ()
    return {str(each["field"]): (int(each["min"]), int(each["max"])) for each in embedded}


def _facts(config: Mapping[str, Any]) -> dict[str, str]:
    """nequip's metadata of a model configuration."""
    names, r_max = [str(name) for name in config["type_names"]], float(config["r_max"])
    facts = {"type_names": " ".join(names), "r_max": str(r_max), "model_dtype": str(config["model_dtype"])}
    partial = config.get("per_edge_type_cutoff")
    if partial is not None:
        rows = []
        for center in names:
            row = partial.get(center, r_max)
            rows += [float(row.get(other, r_max) if isinstance(row, dict) else row) for other in names]
        facts["per_edge_type_cutoff"] = " ".join(map(str, rows))
    return facts


FORMAT = Format(
    kind=CHECKPOINT,
    suffix=".ckpt",
    runs_code=True,
    can_compile=True,
    can_fuse=True,
    recognise=recognise,
    read_info=read_info,
    open=open_eager,
    obstacle=obstacle,
)
