"""From settings to an OpenMM System, integrator and Simulation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import openmm
import openmm.app as app
from openmmml import MLPotential

from ...choices import GPU_PLATFORMS, POTENTIAL_NAME
from ...deviation import DeviationCalculator
from ...errors import CommitteeError
from ...models import locate, read_info
from ...models.format import COMMITTEE, TORCHMDNET_ENSEMBLE
from ...options import Options
from ...reading import read_system
from ..platforms import find_platform, on_fastest
from ..structures.ase_files import read_masses
from ..structures.bonds import Molecules
from ..structures.structure_files import Structure, read_structure
from .bias import add_biases
from .hybrid_system import is_hybrid, make_hybrid, model_options, molecules_of, read_hybrid_structure
from .integrators import BAROSTAT_CLASSES, make_barostat, make_integrator
from .run_config import LAMMPS, RunConfig, option_name
from .run_folder import RunFolder
from .setting_values import AUTO
from .system_models import with_models_of

if TYPE_CHECKING:
    from ..engines.lammps.rank_processes import RankProcesses
    from ..engines.lammps.ranked_deviation import RankedDeviation

__all__ = ["Setup", "make_integrator", "make_setup", "make_simulation"]

logger = logging.getLogger(__name__)

#: Friction while equilibrating, 1/ps, where production has less: heat comes in and goes out in a tenth of a picosecond.
EQUILIBRATION_FRICTION = 10.0


@dataclass(frozen=True, eq=False)
class Setup:
    """What is simulated.

    Parameters
    ----------
    structure : Structure
        Start, with a reduced box and whole molecules.
    molecules : Molecules
        Its molecules.
    system : openmm.System
        Forces, barostat included.
    barostat : openmm.Force or None
        The System's barostat.
    ranks : RankProcesses or None
        Who compute the forces that the System lacks, for the engine lammps.
    asked : DeviationCalculator or RankedDeviation or None
        Asks the models of a committee how far they are from each other; None for a single model.
    """

    structure: Structure
    molecules: Molecules
    system: openmm.System
    barostat: openmm.Force | None
    ranks: RankProcesses | None = None
    asked: DeviationCalculator | RankedDeviation | None = None

    def close(self) -> None:
        """End what was started for it."""
        if self.ranks is not None:
            self.ranks.close()


def make_setup(config: RunConfig, done: int = 0, folder: RunFolder | None = None) -> Setup:
    """Read the structure and build the System of a run.

    Parameters
    ----------
    config : RunConfig
        Settings.
    done : int
        Steps done before; the barostat, whose generator no checkpoint holds, then draws other numbers than at first.
    folder : RunFolder, optional
        The folder of a run that goes on: hybrid Systems are read from it.

    Returns
    -------
    Setup

    Raises
    ------
    ValueError
        For a bad structure, element, unit, device or backend, or constant pressure without a box.
    """
    find_platform(config.platform)
    if config.engine == LAMMPS:
        return _ranked_setup(config, done)
    of_ranks = {"ranks": 1, "pair_style": AUTO, "rank_timeout": None}
    for name in (name for name, default in of_ranks.items() if getattr(config, name) != default):
        raise ValueError(
            f"{option_name(name)} = {getattr(config, name)}: the engine openmm has one rank and no pair styles; give "
            "--engine lammps with it"
        )
    if is_hybrid(config):
        made = _hybrid_setup(config, done, folder)
    else:
        structure, molecules = _whole_for_dynamics(config)
        system = make_system(config, structure)
        _set_masses(config, structure, system)
        made = _complete(config, done, structure, molecules, system)
    return replace(made, asked=committee_of(config, made.structure, made.system))


def _set_masses(config: RunConfig, structure: Structure, system: openmm.System) -> None:
    """Give particles the masses that the structure file states, if it does."""
    masses = read_masses(structure.path, config.frame)
    for index, mass in enumerate(() if masses is None else masses.tolist()):
        if system.getParticleMass(index)._value > 0:
            system.setParticleMass(index, mass)


def _ranked_setup(config: RunConfig, done: int) -> Setup:
    """A run on ranks, which LAMMPS takes the steps of."""
    from ..engines.lammps.ranked_deviation import RankedDeviation
    from ..engines.lammps.ranked_system import check_settings, ranked_system

    check_settings(config)
    structure, molecules = _whole_for_dynamics(config)
    system, ranks = ranked_system(config, structure, read_masses(structure.path, config.frame))
    asked = RankedDeviation(ranks, system.getNumParticles()) if is_committee(config) else None
    return replace(_complete(config, done, structure, molecules, system), ranks=ranks, asked=asked)


def _whole_for_dynamics(config: RunConfig) -> tuple[Structure, Molecules]:
    """The structure of a run with a model alone, as OpenMM wants it."""
    structure, molecules = _read_whole(config).for_dynamics(config.bonds)
    if config.ensemble == "npt" and structure.box_nm is None:
        raise ValueError(
            f"ensemble npt needs a periodic box, and {structure.path} has none; give --box, or choose nvt or nve"
        )
    return structure, molecules


def _read_whole(config: RunConfig) -> Structure:
    """The structure of a run with a model alone, which may be a slab or wire."""
    structure = read_structure(config.structure or "", config.box, config.frame, slabs=True)
    if not config.periodic:
        return replace(structure, box_nm=None, open_directions=())
    if not structure.open_directions:
        return structure
    if config.ensemble == "npt":
        raise ValueError(
            f"ensemble npt: {structure.path} is periodic in some directions only, and a barostat would press its "
            "vacuum; choose nvt or nve"
        )
    source = locate(config.declared_model, config.trusted)
    options = Options(**model_options(config))
    info = read_info(source, settings=options.settings)
    length = options.units_for(info).length
    return structure.filled(None if info.cutoff is None else info.cutoff * length)


def _hybrid_setup(config: RunConfig, done: int, folder: RunFolder | None) -> Setup:
    """A hybrid run: built from the structure, or on a restart read back, since solvation would not repeat itself."""
    if folder is None:
        structure, system = make_hybrid(config, read_hybrid_structure(config))
    else:
        structure = read_structure(folder.start)
        system = read_system(with_models_of(folder.system.read_text(encoding="utf-8"), config))
        for index in reversed(range(system.getNumForces())):
            if isinstance(system.getForce(index), BAROSTAT_CLASSES):
                system.removeForce(index)
    if config.ensemble == "npt" and structure.box_nm is None:
        raise ValueError(f"ensemble npt needs a periodic box, and {structure.path} has none; give --solvate or --box")
    return _complete(config, done, structure, molecules_of(structure), system)


def _complete(
    config: RunConfig, done: int, structure: Structure, molecules: Molecules, system: openmm.System
) -> Setup:
    """Add the biases, and the barostat of an npt run."""
    add_biases(system, config.bias, structure.box_nm is not None)
    barostat = None
    if config.ensemble == "npt":
        barostat = make_barostat(config, 3 + done)
        system.addForce(barostat)
    logger.info(
        "%d atoms in %d molecules, %s",
        system.getNumParticles(),
        molecules.count,
        "not periodic" if structure.box_nm is None else f"box {structure.box_nm.round(4).tolist()} nm",
    )
    return Setup(structure, molecules, system, barostat)


def make_system(config: RunConfig, structure: Structure) -> openmm.System:
    """The System of a structure that the model describes whole.

    Parameters
    ----------
    config : RunConfig
        Settings.
    structure : Structure
        The atoms.

    Returns
    -------
    openmm.System
    """
    potential = MLPotential(POTENTIAL_NAME, modelPath=config.declared_model, trusted=config.trusted)
    return potential.createSystem(structure.topology, **model_options(config))


def committee_of(config: RunConfig, structure: Structure, system: openmm.System) -> DeviationCalculator | None:
    """Who asks the models of a run's committee.

    Parameters
    ----------
    config : RunConfig
        Settings.
    structure : Structure
        The atoms.
    system : openmm.System
        Of the run.

    Returns
    -------
    DeviationCalculator or None
        Of the run's own System, or of one like it where a TorchForce holds the models; None for a single model.

    Raises
    ------
    CommitteeError
        If the deviation of a single model is asked for, or models in a TorchForce cannot be asked.
    """
    if not is_committee(config):
        return None
    if not has_plugin_force(system):
        return DeviationCalculator(system)
    if is_hybrid(config):
        raise CommitteeError(
            f"backend {config.backend}: the models of a committee in a TorchForce cannot be asked how far they are "
            "from each other, which a run does; choose --backend PythonForce"
        )
    return DeviationCalculator(make_system(replace(config, backend="PythonForce"), structure))


def is_committee(config: RunConfig) -> bool:
    """Whether several models take part in a run.

    Raises
    ------
    CommitteeError
        If the deviation of a single model is asked for.
    """
    if locate(config.declared_model, config.trusted).kind in (COMMITTEE, TORCHMDNET_ENSEMBLE):
        return True
    if config.deviation_options:
        raise CommitteeError(
            f"{', '.join(config.deviation_options)}: {config.model} is a single model, which deviates from no other; "
            "name further ones with --committee"
        )
    return False


def has_plugin_force(system: openmm.System) -> bool:
    """Whether a force is a plugin's, such as TorchForce: it fails in calls during which OpenMM holds Python's lock.

    Those are minimisation with a reporter and a barostat's ``computeCurrentPressure``.
    """
    return any(type(force) is openmm.Force for force in system.getForces())  # OpenMM's Python knows no plugin's class


def make_simulation(config: RunConfig, setup: Setup, integrator: openmm.Integrator) -> app.Simulation:
    """A Simulation on the platform asked for, or the fastest that works.

    Parameters
    ----------
    config : RunConfig
        Settings.
    setup : Setup
        What is simulated.
    integrator : openmm.Integrator
        Of this simulation alone.

    Returns
    -------
    openmm.app.Simulation

    Raises
    ------
    ValueError
        If the platform asked for does not work here.
    """
    if setup.ranks is not None:
        from ..engines.lammps.ranked_simulation import RankedSimulation

        return RankedSimulation(setup.structure.topology, setup.system, integrator, setup.ranks)
    chosen = find_platform(config.platform)
    if chosen is not None:
        try:
            return _simulation(config, setup, integrator, chosen)
        except openmm.OpenMMException as error:
            raise ValueError(f"platform {chosen} does not work here: {error}") from error
    index = _device_index(config)
    return on_fastest(lambda name: _simulation(config, setup, integrator, name), index)


def _device_index(config: RunConfig) -> str | None:
    """OpenMM's number of the GPU that a run asked for, if it did."""
    return config.device.split(":")[1] if config.device is not None and ":" in config.device else None


def _simulation(config: RunConfig, setup: Setup, integrator: openmm.Integrator, name: str) -> app.Simulation:
    properties = {}
    if name == "CPU" and config.threads is not None:
        properties["Threads"] = str(config.threads)
        if config.threads == 1:
            # Even on one thread OpenMM's sums differ from run to run in their last bits, which a minimisation makes
            # large. In fixed order they cost one thread 1 %, several threads a quarter.
            properties["DeterministicForces"] = "true"
    if name in GPU_PLATFORMS:  # they compute in single precision unless told otherwise
        properties["Precision"] = "mixed"
        index = _device_index(config)
        if index is not None:
            properties["DeviceIndex"] = index
    platform = openmm.Platform.getPlatformByName(name)
    return app.Simulation(setup.structure.topology, setup.system, integrator, platform, properties)
