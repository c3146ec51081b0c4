"""Training checkpoints of nequip >= 0.7 (``.ckpt``).

References
----------
``hyper_parameters`` as written by lightning, their form by nequip's ``train/lightning.py`` and ``scripts/train.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..archive import read_end
from ..base import ModelInfo
from ..eager import ALL_OUTPUTS, open_eager
from ..format import CHECKPOINT, Contents, Format
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
    content = read_end(source.path, "/data.pkl")
    try:
        parameters = peek(content or b"")["hyper_parameters"]
        config = _model_config(parameters["model"])
        facts = _facts(config)
        versions = parameters["info_dict"].get("versions") or {}
        names = facts["type_names"].split()
        return ModelInfo(
            type_names=tuple(names),
            cutoff=float(facts["r_max"]),
            dtype=facts["model_dtype"],
            per_edge_type_cutoff=parse_cutoffs(facts.get("per_edge_type_cutoff"), tuple(names)),
            outputs=ALL_OUTPUTS,
            versions={key: str(value) for key, value in versions.items() if value is not None},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _model_config(config: Any) -> Mapping[str, Any]:
    """The innermost configuration that names the types: modifiers are written around a model."""
    while "type_names" not in config and isinstance(config.get("model"), dict):
        config = config["model"]
    return config


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
)
