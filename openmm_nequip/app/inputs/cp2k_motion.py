"""&MOTION of a CP2K input: dynamics or an optimisation, and what is printed on the way.

References
----------
CP2K's manual (2026.2), CP2K_INPUT/MOTION/MD and below: keywords and their defaults. In MOTION/MD/THERMOSTAT the keyword
TYPE is NOSE unless it is given, whatever sections stand beside it.
"""

from __future__ import annotations

from typing import Any

from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from .cp2k_sections import Keyword, Section
from .cp2k_units import FORCE, PER_TIME, PRESSURE, TEMPERATURE, TIME, quantities, quantity
from .translation import MAPPED, REPLACED, Place, Translation

_ENSEMBLES = {"NVE": "nve", "NVT": "nvt", "NPT_I": "npt", "NPT_F": "npt", "LANGEVIN": "nvt"}
#: CP2K's defaults.
_STEPS, _TIMESTEP_FS, _TEMPERATURE_K, _TIMECON_FS, _CHAIN, _PRESSURE_BAR = 3, 0.5, 300.0, 1000.0, 3, 0.0
_MAX_FORCE, _MAX_ITER = 4.5e-4, 200
_HARTREE_PER_BOHR = "hartree*bohr^-1"
_FS_PER_PS = 1000.0
#: Keywords that are off at these values, and otherwise change the dynamics in ways that are not done here.
_MUST_BE_OFF = {
    "TEMP_TOL": 0.0, "ANNEALING": 1.0, "ANNEALING_CELL": 1.0, "TEMPERATURE_ANNEALING": 1.0, "DISPLACEMENT_TOL": 100.0,
    "TEMP_KIND": 0.0, "SCALE_TEMP_KIND": 0.0, "ANGVEL_ZERO": 0.0,
}  # fmt: skip


def read_dynamics(motion: Section | None, root: Section, result: Translation) -> None:
    """Read &MD into settings of dynamics.

    Parameters
    ----------
    motion : Section or None
        &MOTION.
    root : Section
        The whole input, for messages.
    result : Translation
        Gets the settings.

    Raises
    ------
    EngineInputError
        If something in it is wrong, or cannot be done here.
    """
    if motion is None:
        raise root.error("RUN_TYPE MD needs a section &MOTION with &MD")
    md = motion.require("MD")
    word = md.take("ENSEMBLE")
    ensemble = "NVE" if word is None else word.choice(_ENSEMBLES)
    result.settings |= {"minimize": False, "equilibrate": 0}
    _set(result, "ensemble", _ENSEMBLES[ensemble], word, md)
    steps = md.take("STEPS")
    count = _STEPS if steps is None else steps.count()
    _set(result, "steps", count, steps, md)
    step = md.take("TIMESTEP")
    _set(result, "timestep", quantity(step, TIME, "fs", _TIMESTEP_FS), step, md)
    kelvin = md.take("TEMPERATURE")
    _set(result, "temperature", quantity(kelvin, TEMPERATURE, "K", _TEMPERATURE_K), kelvin, md)
    if count == 0:
        result.settings["task"] = "energy"
        result.note(REPLACED, "RUN_TYPE", "MD", (steps or word or _blank(md)).place, became="task = \"energy\"",
                    why="0 steps: energy, forces and stress of the start, which CP2K prints for them")  # fmt: skip
    _read_langevin(md, ensemble, result)
    _read_thermostat(md, ensemble, result)
    _read_barostat(md, ensemble, result)
    for keyword in list(md.keywords):
        if keyword.name in _MUST_BE_OFF and not keyword.taken:
            _refuse_unless_off(keyword, result)
    if ensemble == "NVE":
        result.note(REPLACED, "velocity Verlet", "", md.place, became="leapfrog Verlet", why="the same trajectory")
    elif ensemble != "LANGEVIN" and result.settings.get("thermostat") == "csvr":
        result.note(MAPPED, "velocity Verlet", "", md.place, became="velocity Verlet")


def _set(
    result: Translation, setting: str, value: Any, keyword: Keyword | None, section: Section, **words: str
) -> None:
    """Give a setting the value of a keyword, or of CP2K's default."""
    if keyword is None:
        words.setdefault("why", "CP2K's default")
        name = f"{section.path}/{setting.upper()}"
        result.set(setting, value, name, "(not given)", Place(section.place.path), **words)
    else:
        result.set(setting, value, keyword.path, keyword.text, keyword.place, **words)


def _blank(section: Section) -> Keyword:
    return Keyword("", "", section.place, section)


def _refuse_unless_off(keyword: Keyword, result: Translation) -> None:
    off = _MUST_BE_OFF[keyword.name]
    text = keyword.text.strip().upper()
    value = {"F": 0.0, ".FALSE.": 0.0, "FALSE": 0.0, "NO": 0.0, "T": 1.5, ".TRUE.": 1.5, "TRUE": 1.5}.get(text)
    if value is None:
        value = 1.5 if not text else keyword.numbers(1)[0]
    if value != off:
        raise keyword.error("this is not done here; take it out")
    keyword.taken = True
    result.note("ignored", keyword.path, keyword.text, keyword.place, why="it is off")


def _read_langevin(md: Section, ensemble: str, result: Translation) -> None:
    section = md.open("LANGEVIN")
    if ensemble != "LANGEVIN":
        if section is not None:
            section.taken = False  # left to what is ignored
        return
    gamma = None if section is None else section.take("GAMMA")
    if gamma is None:
        raise md.error("ENSEMBLE LANGEVIN: give &LANGEVIN with GAMMA; without friction there is no thermostat")
    value = quantities(gamma, PER_TIME, "fs^-1", "fs^-1")[0] * _FS_PER_PS
    if value <= 0:
        raise gamma.error("the friction must be more than 0")
    result.settings["thermostat"] = "langevin"
    _set(result, "friction", value, gamma, md, fate=REPLACED, why="OpenMM's Langevin integrator, middle scheme")


def _read_thermostat(md: Section, ensemble: str, result: Translation) -> None:
    """&THERMOSTAT of the particles."""
    section = md.open("THERMOSTAT")
    if ensemble in ("NVE", "LANGEVIN"):
        if section is not None:
            section.taken = False
        return
    if section is None:
        raise md.error(f"ENSEMBLE {ensemble} needs a section &THERMOSTAT")
    kind = section.take("TYPE", "THERMOSTAT_TYPE")
    chosen = "NOSE" if kind is None else kind.word().upper()
    if chosen in ("GLE", "AD_LANGEVIN"):
        raise (kind or _blank(section)).error(
            "this thermostat is not done here: coloured noise and adaptive Langevin dynamics have no counterpart in "
            "OpenMM. Use TYPE CSVR, which samples the same ensemble"
        )
    if kind is not None:
        kind.choice(("NOSE", "CSVR"))
    region = section.take("REGION")
    if region is not None and region.choice(("GLOBAL", "MOLECULE", "MASSIVE", "DEFINED", "NONE")) != "GLOBAL":
        raise region.error("only a thermostat of all atoms together is done here; use REGION GLOBAL")
    details = section.open(chosen)
    other = "CSVR" if chosen == "NOSE" else "NOSE"
    if kind is None and details is None and any(each.name == "CSVR" for each in section.sections):
        result.warnings.append(
            f"{section.place}: &CSVR is given and TYPE is not; CP2K's default is TYPE NOSE, and so is this run's: "
            "write TYPE CSVR if you mean it"
        )
    for each in section.open_all(other):
        each.taken = False
    timecon = None if details is None else details.take("TIMECON")
    time = quantity(timecon, TIME, "fs", _TIMECON_FS)
    if time <= 0:
        raise (timecon or _blank(section)).error("the time constant must be more than 0")
    name, why = ("csvr", "") if chosen == "CSVR" else ("nose-hoover", "OpenMM's chain, with the same period")
    _set(result, "thermostat", name, kind, section, **({"why": why} if why and kind is not None else {}))
    _set(result, "thermostat_time", time, timecon, details or section)
    if chosen == "NOSE":
        length = None if details is None else details.take("LENGTH")
        _set(result, "thermostat_chain", _CHAIN if length is None else length.count(1), length, details or section)


def _read_barostat(md: Section, ensemble: str, result: Translation) -> None:
    section = md.open("BAROSTAT")
    if not ensemble.startswith("NPT"):
        if section is not None:
            section.taken = False
        return
    pressure = None if section is None else section.take("PRESSURE")
    _set(result, "pressure", quantity(pressure, PRESSURE, "bar", _PRESSURE_BAR), pressure, section or md)
    kind = "isotropic" if ensemble == "NPT_I" else "flexible"
    _set(result, "barostat", kind, None, section or md, fate=REPLACED,
         why=f"ENSEMBLE {ensemble}: OpenMM's Monte Carlo barostat, the same ensemble")  # fmt: skip
    if section is None:
        return
    virial = section.take("VIRIAL")
    if virial is not None and virial.choice(("X", "Y", "Z", "XY", "XZ", "YZ", "XYZ")) != "XYZ":
        raise virial.error("pressure along some axes only is not done here; use XYZ")
    kelvin = section.take("TEMPERATURE")
    if kelvin is not None:
        if quantities(kelvin, TEMPERATURE, "K", "K")[0] != result.settings["temperature"]:
            raise kelvin.error("a barostat of another temperature than the atoms is not done here")
        result.note("mapped", kelvin.path, kelvin.text, kelvin.place, became="the temperature")


def read_optimisation(motion: Section | None, root: Section, result: Translation) -> None:
    """Read &GEO_OPT into settings of a minimisation.

    Parameters
    ----------
    motion : Section or None
        &MOTION.
    root : Section
        The whole input, for messages.
    result : Translation
        Gets the settings.

    Raises
    ------
    EngineInputError
        If something in it is wrong, or cannot be done here.
    """
    section = None if motion is None else motion.open("GEO_OPT")
    result.settings["task"] = "minimize"
    where = section or root
    force = iterations = kind = optimizer = None
    if section is not None:
        force, iterations = section.take("MAX_FORCE"), section.take("MAX_ITER")
        kind, optimizer = section.take("TYPE"), section.take("OPTIMIZER", "MINIMIZER")
    if kind is not None and kind.choice(("MINIMIZATION", "TRANSITION_STATE")) != "MINIMIZATION":
        raise kind.error("a transition state is not looked for here")
    atomic = _MAX_FORCE
    if force is not None:
        atomic = quantities(force, FORCE, _HARTREE_PER_BOHR, _HARTREE_PER_BOHR)[0]
    unit = Keyword("MAX_FORCE", str(atomic), where.place, where)
    per_angstrom = quantities(unit, FORCE, _HARTREE_PER_BOHR, "eV*angstrom^-1")[0]
    tolerance = per_angstrom * KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM
    if tolerance <= 0:
        raise (force or unit).error("the force must be more than 0")
    _set(result, "force_tolerance", tolerance, force, where)
    _set(result, "iterations", _MAX_ITER if iterations is None else iterations.count(1), iterations, where)
    if optimizer is not None:
        optimizer.choice(("BFGS", "LBFGS", "CG"))
        result.note(REPLACED, optimizer.path, optimizer.text, optimizer.place, became="OpenMM's L-BFGS",
                    why="another way to the same minimum")  # fmt: skip


def read_prints(motion: Section | None, md_steps: bool, result: Translation) -> None:
    """Read how often frames, energies and restarts are written.

    Parameters
    ----------
    motion : Section or None
        &MOTION.
    md_steps : bool
        Whether steps of dynamics are taken.
    result : Translation
        Gets the settings.

    Raises
    ------
    EngineInputError
        If an interval is none.
    """
    if motion is None or not md_steps:
        return
    prints = motion.open("PRINT")
    md = motion.open("MD")
    energies = None if md is None else md.open("PRINT")
    rows = None if energies is None else energies.open("ENERGY")
    frames = None if prints is None else prints.open("TRAJECTORY")
    restart = None if prints is None else prints.open("RESTART")
    found = interval_of(frames)
    value = 1 if found is None else found.count(1)
    _set(result, "report_interval", value, found, frames or motion)
    if frames is not None:
        form = frames.take("FORMAT")
        if form is not None:
            result.note(REPLACED, form.path, form.text, form.place, became='trajectory = "dcd"',
                        why="positions and box; --trajectory has others")  # fmt: skip
    found = interval_of(rows)
    if found is not None:
        other = found.count(1) != value
        fate, why = (REPLACED, "rows of the log come with frames") if other else (MAPPED, "")
        result.note(fate, found.path, found.text, found.place, became=f"rows every {value} steps", why=why)
    found = interval_of(restart)
    if found is not None:
        _set(result, "checkpoint_interval", found.count(1), found, restart or motion)


def interval_of(section: Section | None) -> Keyword | None:
    """The keyword MD of &EACH of a print key.

    Parameters
    ----------
    section : Section or None
        The print key.

    Returns
    -------
    Keyword or None
        None where it is not there.
    """
    each = None if section is None else section.open("EACH")
    return None if each is None else each.take("MD")


