"""Kernels on a GPU are compared with the model's own answers, once on each kind of device, before they are used.

The structures and answers are those that every library for CPUs is compared with
(:mod:`openmm_nequip.models.own_answers`). They go through the whole force, lists of neighbours included, in Contexts of
our own on the same device and in the same precision.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import openmm
import openmm.version

from ...cache import find, keep, key_of, shelf
from ...errors import KernelsError, NotFusableError
from ...evaluate.placement import Placement
from ...models.fused import Kept
from ...models.own_answers import compare_answers
from ...units import Units
from .gpu_description import Description, describe_kernels
from .gpu_place import GpuPlace

if TYPE_CHECKING:
    from .plugin import Plugin

logger = logging.getLogger(__name__)

#: Rounding of OpenMM's precisions, as a share of the largest force: single positions are rounded to 1e-7 of themselves.
ROUNDING = {"single": 2e-4, "mixed": 2e-6, "double": 0.0}
#: Relative rounding of an energy whose parts are single.
_SINGLE = 1e-6
#: Structures are in the model's own units, as if they were nm and kJ/mol.
_PLAIN = Units(1.0, 1.0)
_SKIN = 0.1


def check_first_use(plugin: Plugin, models: Sequence[Description], place: GpuPlace) -> None:
    """Compare kernels that were not used at such a place before with their models' own answers.

    Parameters
    ----------
    plugin : Plugin
        The force.
    models : sequence of Description
        Whose kernels.
    place : GpuPlace
        Where they are to run.

    Raises
    ------
    KernelsError
        If they give something else there; that is remembered.
    """
    for kernels in {id(model.kernels): model.kernels for model in models}.values():
        if reason := _remembered(plugin, kernels, place):
            raise KernelsError(reason)


def _remembered(plugin: Plugin, kernels: Kept, place: GpuPlace) -> str:
    """Why kernels cannot be used at a place, from the cache folder or found out now; empty if they can."""
    if not kernels.references.structures:
        return ""
    fused = kernels.fused
    parts = [fused.source.encode(), fused.weights.tobytes(), fused.constants.tobytes()]
    key = {
        "kernels": [hashlib.sha256(part).hexdigest() for part in parts],
        "platform": place.platform,
        "precision": place.precision,
        "device": place.properties.get("DeviceName", ""),
        "openmm": openmm.version.full_version,
        "force": plugin.libraries,
    }
    name, folder = f"first-use-{key_of(key)}", _folder()
    try:
        kept = None if folder is None else find(folder, name, ".json")
        if kept is not None:
            return str(json.loads(kept[1])["reason"])
    except (OSError, ValueError, KeyError):
        pass  # compared anew
    logger.info("comparing the kernels on %s (%s) with the model", place.platform, place.precision)
    reason = compare_kernels(plugin, kernels, place)
    if folder is not None:
        try:
            keep(folder, name, ".json", json.dumps({"reason": reason}).encode())
        except OSError:
            pass  # the answer holds for this process even where it cannot be kept
    return reason


def _folder() -> Path | None:
    try:
        return shelf("native")
    except OSError:
        return None


def compare_kernels(plugin: Plugin, kernels: Kept, place: GpuPlace) -> str:
    """Compare kernels with their model's own answers.

    Parameters
    ----------
    plugin : Plugin
        The force.
    kernels : Kept
        Code and answers.
    place : GpuPlace
        Where they run.

    Returns
    -------
    str
        How they differ; empty if they do not.
    """
    references, least = kernels.references, ROUNDING.get(place.precision, ROUNDING["single"])
    for number, one in enumerate(references.structures):
        n = len(one.types)
        if place.precision == "single":
            one = one._replace(rounding=one.rounding + _SINGLE * np.abs(one.energies).max())
            references = references._replace(
                structures=(*references.structures[:number], one, *references.structures[number + 1 :])
            )
        models = describe_kernels([kernels], Placement(n, one.types), _PLAIN, _SKIN * references.cutoff)
        with plugin.trial(models) as text:
            system = _system(text, n, one.cell if one.periodic else None)
            context = place.open(system)
            context.setPositions(one.positions)
            state = context.getState(energy=True, forces=True)
            told = plugin.tell(context.getSystem().getForce(0), context, n)
        energy, forces = np.array(state.getPotentialEnergy()._value), state.getForces(asNumpy=True)._value
        where = f"{place.platform} in {place.precision} precision"
        try:
            compare_answers(references, number, f"a step on {where}", energy, forces, least)
            compare_answers(references, number, f"the kernels on {where}", told[:, 0], told[:, 1:4], least)
        except NotFusableError as error:
            return str(error)
    return ""


def _system(text: str, n: int, cell: np.ndarray | None) -> openmm.System:
    """A System of n particles with a force of that text."""
    system = openmm.System()
    for _ in range(n):
        system.addParticle(1.0)
    if cell is not None:
        system.setDefaultPeriodicBoxVectors(*cell)
    system.addForce(
        openmm.XmlSerializer.deserialize(
            f'<Force forceGroup="0" function="{text}" name="trial" parameter="" type="NequIPForce" '
            f'usesPeriodic="{int(cell is not None)}" version="1"/>'
        )
    )
    return system
