"""CP2K's input, read into settings of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...units import resolve_units
from .cp2k_model import CP2KModel, read_model
from .cp2k_motion import interval_of, read_dynamics, read_optimisation, read_prints
from .cp2k_rest import settle_rest
from .cp2k_sections import Section, parse
from .cp2k_structure import read_subsys
from .cp2k_text import Preprocessor
from .cp2k_units import BAR
from .translation import REPLACED, Translation

_RUN_TYPES = {
    "ENERGY": "energy", "ENERGY_FORCE": "energy", "MD": "md", "GEO_OPT": "minimize", "MOLECULAR_DYNAMICS": "md",
    "GEOMETRY_OPTIMIZATION": "minimize", "WFN_OPT": "energy", "WAVEFUNCTION_OPTIMIZATION": "energy",
}  # fmt: skip
_FORCES = ("stated", "energy")


def read_cp2k(path: str | os.PathLike[str], forces: str = "stated") -> Translation:
    """Read a CP2K input with a NequIP, Allegro or MACE model.

    Parameters
    ----------
    path : str or path-like
        The input file. Files that it names are looked for in its folder, in the current one, and models then in
        CP2K's data folder, which the environment variable CP2K_DATA_DIR names.
    forces : str
        ``"stated"``, or ``"energy"`` where UNIT_FORCES is to follow from the units of energy and length whatever it
        says.

    Returns
    -------
    Translation
        Settings of the run, and what became of each entry.

    Raises
    ------
    EngineInputError
        With file and line, for what is wrong in the input and for what cannot be done as CP2K does it.
    ValueError
        If `forces` is neither.
    """
    if forces not in _FORCES:
        raise ValueError(f"forces={forces!r} is unknown; use one of {', '.join(_FORCES)}")
    path = os.path.abspath(os.path.expanduser(os.fspath(path)))
    folder = Path(path).parent
    root = parse(Preprocessor(folder).lines(path), path)
    result = Translation("CP2K", path)
    task = _read_global(root, result)
    evaluation = root.require("FORCE_EVAL")
    method = evaluation.take("METHOD")
    if method is None or method.word().upper() != "FIST":
        raise (method or evaluation).error("METHOD FIST is what runs NequIP, Allegro and MACE models")
    result.note("mapped", evaluation.path + "/METHOD", "FIST", evaluation.place, became="the model alone")
    mm = evaluation.require("MM")
    field = mm.require("FORCEFIELD")
    kind = field.take("PARMTYPE")
    if kind is not None and kind.choice(("OFF", "CHM", "G87", "G96", "AMBER")) != "OFF":
        raise kind.error("a force field beside the model is not done here; use OFF")
    model = read_model(field.require("NONBONDED"), folder, forces, result)
    _check_electrostatics(mm, field, result)
    stress = _wants_stress(evaluation, result)
    read_subsys(evaluation.require("SUBSYS"), model, folder, result)
    motion = root.open("MOTION")
    if task == "md":
        read_dynamics(motion, root, result)
    elif task == "minimize":
        read_optimisation(motion, root, result)
    steps = result.settings.get("task", "md") == "md"
    read_prints(motion, steps, result)
    _read_force_prints(evaluation, steps, result)
    settle_rest(root, result)
    result.in_its_units = _Published(model, stress)
    return result


def _read_global(root: Section, result: Translation) -> str:
    """RUN_TYPE, PROJECT and SEED; the task."""
    section = root.require("GLOBAL")
    kind = section.take("RUN_TYPE")
    known = _RUN_TYPES.get("ENERGY_FORCE" if kind is None else kind.word().upper())
    if known is None:
        raise (section if kind is None else kind).error(
            f"this kind of run is not done here; done are {', '.join(_RUN_TYPES)}"
        )
    if known != "md":
        result.settings["task"] = known
    place = section.place if kind is None else kind.place
    words = "(not given: ENERGY_FORCE)" if kind is None else kind.text
    result.note("mapped", f"{section.path}/RUN_TYPE", words, place, became=f'task = "{known}"')
    project = section.take("PROJECT", "PROJECT_NAME")
    name = "PROJECT" if project is None else Path(project.word()).name
    folder = str(Path.cwd() / f"{name}-run")
    result.set("output", folder, f"{section.path}/PROJECT", name, (project or section).place)
    seed = section.take("SEED")
    if seed is not None:
        number = abs(int(seed.numbers()[0])) % (2**31 - 1)
        result.set("seed", number, seed.path, seed.text, seed.place, fate=REPLACED, why="other random numbers")
    return known


def _check_electrostatics(mm: Section, field: Section, result: Translation) -> None:
    """Refuse charges that would act: the model has all of the energy."""
    poisson = mm.open("POISSON")
    ewald = None if poisson is None else poisson.open("EWALD")
    kind = None if ewald is None else ewald.take("EWALD_TYPE")
    off = kind is not None and kind.choice(("NONE", "EWALD", "PME", "SPME")) == "NONE"
    if kind is not None:
        became = "no electrostatics" if off else "no electrostatics, as there are no charges"
        result.note("mapped" if off else REPLACED, kind.path, kind.text, kind.place, became=became)
    for charge in field.open_all("CHARGE", "CHARGES"):
        for keyword in charge.take_all("CHARGE", "ATOM"):
            if keyword.name == "CHARGE" and keyword.numbers(1)[0] != 0 and not off:
                raise keyword.error("charges beside the model are not done here; set EWALD_TYPE NONE, or charges of 0")


def _wants_stress(evaluation: Section, result: Translation) -> bool:
    keyword = evaluation.take("STRESS_TENSOR")
    if keyword is None:
        return False
    kind = keyword.choice(("NONE", "ANALYTICAL", "NUMERICAL", "DIAGONAL_ANALYTICAL", "DIAGONAL_NUMERICAL"))
    fate = "mapped" if kind in ("NONE", "ANALYTICAL") else REPLACED
    became = "no stress" if kind == "NONE" else "the model's own (analytical) stress"
    result.note(fate, keyword.path, keyword.text, keyword.place, became=became)
    return kind != "NONE"


def _read_force_prints(evaluation: Section, steps: bool, result: Translation) -> None:
    """Print keys of forces and stress."""
    prints = evaluation.open("PRINT")
    if prints is None:
        return
    stress = prints.open("STRESS_TENSOR")
    if stress is not None and stress.is_on:
        each = interval_of(stress)
        if steps:
            value = 1 if each is None else each.count(1)
            result.set("stress_interval", value, stress.path, "" if each is None else each.text, stress.place)
        else:
            result.note("mapped", stress.path, stress.parameter, stress.place, became="stress in summary.json")
    forces = prints.open("FORCES")
    if forces is not None and forces.is_on:
        if steps:
            forces.taken = False
        else:
            result.note("mapped", forces.path, forces.parameter, forces.place, became="forces.extxyz, in eV/Å")


class _Published:
    """Numbers of a run as CP2K prints them.

    Parameters
    ----------
    model : CP2KModel
        The model's units, by CP2K's constants.
    stress : bool
        Whether the pressure is wanted.
    """

    def __init__(self, model: CP2KModel, stress: bool) -> None:
        self._model, self._stress = model, stress

    def __call__(self, summary: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
        """Rows of what a run of task ``energy`` or ``minimize`` found."""
        if "energy_kj_per_mol" not in summary:
            return []
        stated = settings.get("units") or (None, None)
        units = resolve_units(stated[0] or "angstrom", stated[1] or "eV")
        # Out of the model's unit again, and from there by CP2K's constants: those of this program leave no trace.
        energy = summary["energy_kj_per_mol"] / units.energy * self._model.energy.factor
        rows = [_row("energy", energy, "hartree", 15)]
        if self._stress and summary.get("pressure_bar") is not None:
            length = self._model.length.factor
            pressure = summary["pressure_bar"] / units.stress_bar * self._model.energy.factor / length**3 / BAR
            rows.append(_row("pressure", pressure, "bar", 7))
        return rows


def _row(name: str, value: float, unit: str, digits: int) -> dict[str, Any]:
    text = f"{value:.{digits}f} {unit}"
    return {"name": f"{name} in CP2K's units", "value": value, "unit": unit, "text": text}


