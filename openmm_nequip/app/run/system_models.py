"""The models in a System's XML: embedded when a run begins, found again when it goes on."""

from __future__ import annotations

import pickle
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...evaluate.placement import Placement
from ...forces.native import FORCE_TYPE
from ...forces.saved import load_computation
from ...forces.spec import PotentialSpec, SumSpec
from ...models import locate
from ...options import Options
from ...reading import check_pickles
from .hybrid_system import model_options
from .run_config import RunConfig
from .run_inputs import MOST_BYTES


def with_models_inside(text: str) -> str:
    """A System's XML that needs no model file: it can be moved with the folder, or alone.

    Parameters
    ----------
    text : str
        XML as OpenMM writes it.

    Returns
    -------
    str
        Models of more than :data:`.run_inputs.MOST_BYTES` stay named by path and SHA-256.
    """
    return _changed(text, _inside)


def _inside(part: PotentialSpec) -> PotentialSpec:
    if part.content is not None or part.source.size_bytes > MOST_BYTES:
        return part
    whole = part.source
    members = tuple(replace(member, path=Path(member.path).name) for member in whole.members)
    name = " + ".join(Path(file.path).name for file in whole.files)
    return replace(part.embed(), source=replace(whole, path=name, members=members))


def with_models_of(text: str, config: RunConfig) -> str:
    """A System's XML whose model is read from where it is now, and run as the settings now say.

    Parameters
    ----------
    text : str
        XML as OpenMM writes it; of a run with one model.
    config : RunConfig
        Settings: the model, and how to run it.

    Returns
    -------
    str
    """
    source = locate(config.declared_model, config.trusted)
    execution = Options(**model_options(config)).execution
    return _changed(text, lambda part: replace(part, source=source, content=None, execution=execution))


def placements_of(text: str, n_particles: int) -> list[Placement]:
    """Which particles the models of a System see, each with its link caps and regions.

    Parameters
    ----------
    text : str
        XML as OpenMM writes it.
    n_particles : int
        Of the System.

    Returns
    -------
    list of Placement
        On all particles of the System; none for what is no force of Python.
    """
    found = []
    for _, computation in _computations(text):
        given = computation.particles
        for part in computation.spec.parts:
            own = part.placement
            found.append(own if given is None else own.on_system(np.asarray(given, dtype=np.int64), n_particles))
    return found


def _computations(text: str) -> Iterator[tuple[str, Any]]:
    """The functions of Python in a System's XML, and how they stand there."""
    check_pickles(text)
    for node in ElementTree.fromstring(text).iter():
        pickled = node.get("function")
        if pickled is not None and node.get("type") in ("PythonForce", "PythonTorchForce", FORCE_TYPE):
            yield pickled, load_computation(bytes.fromhex(pickled))


def _changed(text: str, change: Callable[[PotentialSpec], PotentialSpec]) -> str:
    """Change every potential in a System's XML; the rest stays as it is, character by character."""
    for pickled, computation in _computations(text):
        parts = tuple(change(part) for part in computation.spec.parts)
        spec = parts[0] if len(parts) == 1 else SumSpec(parts)
        made = pickle.dumps(type(computation)(spec, computation.particles))
        text = text.replace(pickled, made.hex())
    return text
