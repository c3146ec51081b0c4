"""Entries of a CP2K input that no reader took: ignored with a reason, or refused."""

from __future__ import annotations

import re

from .cp2k_sections import Keyword, Section
from .translation import IGNORED, Translation

_PRINT_KEY = "how and where CP2K prints; a run has its own files"
#: Path (without &, sections and keywords alike) and why what is there changes nothing here. Whole sections count.
_IGNORED = [(re.compile(pattern), why) for pattern, why in (
    (r"GLOBAL/(PRINT_LEVEL|IOLEVEL|WALLTIME|ECHO_INPUT|ECHO_ALL_HOSTS|TRACE.*|SAVE_MEM|FLUSH_SHOULD_FLUSH|PROGRAM_NAME|"
     r"PREFERRED_FFT_LIBRARY|PREFERRED_DIAG_LIBRARY|EXTENDED_FFT_LENGTHS|FFTW.*|ALLTOALL_SGL|OUTPUT_FILE_NAME|"
     r"CALLGRAPH.*|BLACS_.*|DIAG_.*|ELPA.*|ENABLE_MPI_IO|PRINT|TIMINGS|FM|DBCSR|REFERENCES|PROGRAM_RUN_INFO|"
     r"PRINT_ELPA|GRID|RANDOM_GENERATOR)", "how CP2K computes and prints; nothing here depends on it"),
    (r"FORCE_EVAL/MM/FORCEFIELD/SPLINE", "splines are for pair potentials, of which there are none"),
    (r"FORCE_EVAL/MM/FORCEFIELD/(IGNORE_MISSING_CRITICAL_PARAMS|DO_NONBONDED|SHIFT_CUTOFF|EI_SCALE14|VDW_SCALE14|"
     r"RCUT_NB|MULTIPLE_POTENTIAL|ZBL_SCATTERING)", "there is no force field beside the model"),
    (r"FORCE_EVAL/MM/NEIGHBOR_LISTS", "lists are those of this program, with the model's own cutoff"),
    (r"FORCE_EVAL/MM/POISSON", "without charges there are no electrostatics"),
    (r"FORCE_EVAL/(MM/|DFT/|SUBSYS/)?PRINT", _PRINT_KEY),
    (r"FORCE_EVAL/DFT", "METHOD FIST does not read it"),
    (r"FORCE_EVAL/SUBSYS/CELL/(CELL_REF|SYMMETRY|PRINT)", "it does not change the cell"),
    (r"FORCE_EVAL/SUBSYS/KIND/.*", "it is for electrons, or for pair potentials"),
    (r"FORCE_EVAL/SUBSYS/(RNG_INIT|COLVAR|CELL_REF|MULTIPOLES)", "nothing here uses it"),
    (r"FORCE_EVAL/SUBSYS/TOPOLOGY/(NUMBER_OF_ATOMS|CONN_FILE_NAME|CONN_FILE_FORMAT|CONNECTIVITY|GENERATE|MOL_CHECK|"
     r"CHARGE_.*|PARA_RES|USE_.*|DISABLE_EXCLUSION_LISTS|EXCLUDE_.*|MEMORY_PROGRESSION_FACTOR|DUMP_.*|PRINT)",
     "bonds and molecules mean nothing to the model"),
    (r"FORCE_EVAL/(RESCALE_FORCES|BSSE|PROPERTIES)", "nothing here uses it"),
    (r"MOTION/PRINT", _PRINT_KEY), (r"MOTION/MD/(PRINT|AVERAGES)", _PRINT_KEY),
    (r"MOTION/GEO_OPT/PRINT", _PRINT_KEY), (r"MOTION/.*/EACH/.*", "another kind of run"),
    (r"MOTION/MD/(STEP_START_VAL|TIME_START_VAL|ECONS_START_VAL|MAX_STEPS)", "steps are counted from 0"),
    (r"MOTION/MD/(COMVEL_TOL|ANGVEL_TOL|INITIALIZATION_METHOD|REFTRAJ|VELOCITY_SOFTENING|INITIAL_VIBRATION)",
     "velocities are drawn at the temperature, without motion of the centre of mass"),
    (r"MOTION/MD/THERMOSTAT/(CSVR|NOSE|GLE|AD_LANGEVIN)", "another thermostat than the one that is chosen"),
    (r"MOTION/MD/THERMOSTAT/CSVR/(THERMOSTAT_ENERGY|RNG_INIT)", "the state of CP2K's own random numbers"),
    (r"MOTION/MD/THERMOSTAT/NOSE/(YOSHIDA|MULTIPLE_TIME_STEPS|MTS|COORD|VELOCITY|MASS|FORCE)",
     "how the chain is integrated, and where it was; OpenMM's begins at rest"),
    (r"MOTION/MD/THERMOSTAT/(PRINT|DEFINE_REGION)", "only REGION GLOBAL is run"),
    (r"MOTION/MD/(THERMOSTAT|BAROSTAT|LANGEVIN|SHELL|RESPA|ADIABATIC_DYNAMICS|THERMAL_REGION|MSST)",
     "the ensemble does not use it"),
    (r"MOTION/MD/BAROSTAT/(TIMECON|TEMP_TOL|THERMOSTAT|PRINT|MASS|VELOCITY)", "a Monte Carlo barostat has none"),
    (r"MOTION/GEO_OPT/(RMS_FORCE|MAX_DR|RMS_DR|STEP_START_VAL|BFGS|CG|LBFGS|KEEP_SPACE_GROUP)",
     "the largest force decides when it ends, and OpenMM's L-BFGS how it gets there"),
    (r"MOTION/(GEO_OPT|CELL_OPT|MD|BAND|MC|TMC|PINT|DRIVER|SHELL_OPT)", "RUN_TYPE asks for something else"),
)]  # fmt: skip
#: Path and what to do about what cannot be left out.
_REFUSED = [(re.compile(pattern), why) for pattern, why in (
    (r"MOTION/(CONSTRAINT|MD/CASCADE|FREE_ENERGY)", "constraints and biases are not done here; build the System with "
     "openmm_nequip.inputs.make_simulation and add them to it"),
    (r"EXT_RESTART", "a restart is not gone on with; give the .restart file itself as the input"),
    (r"MULTIPLE_FORCE_EVALS|FARMING|SWARM|OPTIMIZE_.*|ATOM|TEST", "this kind of run is not done here"),
    (r"FORCE_EVAL/MM/FORCEFIELD/.*", "a force field beside the model would add to its energy, and is not done here"),
    (r"FORCE_EVAL/(QMMM|MIXED|EMBED|EP|EXTERNAL_POTENTIAL|NNP|EIP|EXCITED_STATES)", "it changes the energy, and is not "
     "done here"),
    (r"FORCE_EVAL/SUBSYS/(CORE_COORD|SHELL_COORD|CORE_VELOCITY|SHELL_VELOCITY)", "models have no shells"),
)]  # fmt: skip


def settle_rest(root: Section, result: Translation) -> None:
    """Note what is left as ignored, or refuse it.

    Parameters
    ----------
    root : Section
        The whole input, after all readers.
    result : Translation
        Gets the entries.

    Raises
    ------
    EngineInputError
        For the first entry that may matter, or is unknown.
    """
    for item in root.leftovers():
        path = item.path.replace("&", "")
        text = item.text if isinstance(item, Keyword) else item.parameter
        why = next((why for pattern, why in _IGNORED if pattern.fullmatch(path) or _inside(pattern, path)), None)
        refused = next((why for pattern, why in _REFUSED if pattern.fullmatch(path)), None)
        if why is None and refused is not None:
            raise item.error(refused)
        if why is None:
            kind = "keyword" if isinstance(item, Keyword) else "section"
            raise item.error(
                f"this {kind} is unknown here, and what it does is not guessed; take it out, or correct its name"
            )
        result.note(IGNORED, item.path, text, item.place, why=why)


def _inside(pattern: re.Pattern[str], path: str) -> bool:
    """Whether an entry is in a print key or a section that is ignored whole."""
    if "PRINT" not in pattern.pattern and not pattern.pattern.endswith(("POISSON", "NEIGHBOR_LISTS")):
        return False
    parts = path.split("/")
    return any(pattern.fullmatch("/".join(parts[:n])) for n in range(1, len(parts)))
