"""What the engine makes of the settings of a run."""

from __future__ import annotations

import logging
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import openmm
import openmm.unit as unit

from ....committee_bias import CommitteeBias, parse_bias
from ....errors import EngineError
from ....models import ModelInfo, ModelSource, locate, read_info
from ....models.committee_path import check_biased
from ....models.units_in_force import units_of
from ....topology import atom_types, check_density, declare_molecules
from ....units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...run.run_config import RunConfig, option_name
from ...run.setting_values import AUTO
from ...single_point import read_types
from ...structures.structure_files import Structure
from .domain_model import check_divisible
from .lammps_domain import Rules
from .lammps_input import SKIN
from .mpi_programs import find_mpiexec, require_packages
from .pair_files import PairFiles
from .rank_processes import RankAtoms, RankMember, RankModel, RankProcesses

logger = logging.getLogger(__name__)

#: Settings that mean something to runs on ranks; any other that is not at its default is refused.
_READ = (
    "model", "structure", "velocities", "output", "ensemble", "temperature", "start_temperature", "pressure",
    "timestep", "steps", "minimize", "equilibrate", "friction", "seed", "report_interval", "log_interval",
    "checkpoint_interval", "trajectory", "wrap", "reactive", "box", "periodic", "frame", "bonds", "units", "types",
    "engine", "ranks", "pair_style", "rank_timeout", "threads", "trusted", "committee", "drive", "committee_bias",
    "deviation_interval", "deviation_select", "deviation_stop",
)  # fmt: skip


def check_settings(config: RunConfig) -> None:
    """Refuse what the engine does not do.

    Parameters
    ----------
    config : RunConfig
        Settings.

    Raises
    ------
    EngineError
        With the settings that are not read, or what is not installed.
    """
    defaults = {setting.name: setting.default for setting in fields(RunConfig)}
    others = (name for name in defaults if name not in _READ)
    asked = [option_name(name) for name in others if getattr(config, name) != defaults[name]]
    if asked:
        raise EngineError(
            f"engine lammps does not read {', '.join(asked)}: its ranks evaluate the whole system by nequip's own "
            "modules on CPUs; leave them out, or choose --engine openmm"
        )
    require_packages()
    find_mpiexec()


def ranked_system(
    config: RunConfig, structure: Structure, masses: np.ndarray | None = None
) -> tuple[openmm.System, RankProcesses]:
    """A System that has masses and molecules and no forces, and the ranks that have these.

    Parameters
    ----------
    config : RunConfig
        Settings, checked.
    structure : Structure
        The atoms; reduced box.
    masses : numpy.ndarray, (n_atoms,) float64, optional
        Da; those of the elements by default.

    Returns
    -------
    system : openmm.System
    ranks : RankProcesses
        Not yet started.

    Raises
    ------
    ModelFileError, AtomTypeError, EngineError, ValueError
        If the model cannot be used, or does not know the structure.
    """
    source, bias = _what_is_run(config)
    info = read_info(source)
    if info.cutoff is None or info.inputs:
        lacks = "has no cutoff" if info.cutoff is None else "takes inputs beside the structure"
        raise EngineError(f"{source.path} {lacks}, and ranks cannot share it; choose --engine openmm")
    units = units_of(info, config.length_unit, config.energy_unit)
    atoms = list(structure.topology.atoms())
    types = np.asarray(atom_types(info.type_names, atoms, read_types(config.types)))
    if masses is None:
        masses = np.array([atom.element.mass.value_in_unit(unit.dalton) for atom in atoms])
    system = openmm.System()
    for mass in masses.tolist():
        system.addParticle(mass)
    system.addForce(openmm.CMMotionRemover())
    periodic = structure.box_nm is not None
    if structure.box_nm is not None:
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*vector) for vector in structure.box_nm))
        reach = info.cutoff * units.length + SKIN * NM_PER_ANGSTROM
        check_density(len(atoms), system.getDefaultPeriodicBoxVectors(), reach)
        of_the_box = openmm.HarmonicBondForce()  # without bonds: it makes the System periodic
        of_the_box.setUsesPeriodicBoundaryConditions(True)
        system.addForce(of_the_box)
    declare_molecules(system, structure.topology, None, periodic, 0)
    length = units.length / NM_PER_ANGSTROM
    table = info.per_edge_type_cutoff or [[info.cutoff] * len(info.type_names)] * len(info.type_names)
    cutoffs = [[value * length for value in row] for row in table]
    # One LAMMPS type for each model type and mass: both may differ where the other does not.
    kinds, lammps_types = np.unique(np.column_stack([types, masses]), axis=0, return_inverse=True)
    rules = Rules(kinds[:, 0].astype(int).tolist(), cutoffs, length, units.energy / KJ_PER_MOL_PER_EV)
    members = RankAtoms(lammps_types.reshape(-1) + 1, kinds[:, 1].tolist())
    names = [info.type_names[kind] for kind in rules.model_types]
    threads = config.threads or max(1, (os.cpu_count() or 1) // config.ranks)
    folder = Path(config.output or ".")
    stated = config.length_unit, config.energy_unit
    pairs = None if config.pair_style != AUTO or source.members else PairFiles(source, stated, names)
    model = RankModel(_members(source, info), rules, threads, pairs, source.drive, bias and bias.per(units.energy))
    return system, RankProcesses(config.ranks, model, members, folder, config.rank_timeout)


def _what_is_run(config: RunConfig) -> tuple[ModelSource, CommitteeBias | None]:
    """The model or committee, which ranks can share, and its bias."""
    source = locate(config.declared_model, config.trusted)
    for file in source.files:
        check_divisible(file)
    if source.members:
        logger.info("a pair style of LAMMPS evaluates one file: the committee is evaluated by nequip's modules")
    bias = parse_bias(config.committee_bias)
    if bias is not None:
        check_biased(source)
    return source, bias


def _members(source: ModelSource, info: ModelInfo) -> list[RankMember]:
    """What ranks load: the model, or those of a committee, each with its own cutoffs where the list reaches farther."""
    found = []
    for file in source.files:
        own = read_info(file)
        if own.cutoff is None or info.cutoff is None:
            raise EngineError(f"{file.path} has no cutoff, and ranks cannot share it; choose --engine openmm")
        count = len(info.type_names)
        tables = [table or ((cutoff,) * count,) * count for table, cutoff in (
            (own.per_edge_type_cutoff, own.cutoff), (info.per_edge_type_cutoff, info.cutoff))]  # fmt: skip
        found.append(RankMember(file.path, file.sha256, own.cutoff, None if tables[0] == tables[1] else tables[0]))
    return found
