"""Set-ups of other engines: read into settings of a run, and run.

::

    from openmm_nequip.inputs import read_cp2k, make_simulation

    translation = read_cp2k("water.inp")  # or read_gromacs("md.mdp", "conf.gro", "topol.top", "index.ndx")
    print(translation.report())
    translation.write_made()  # files that the input holds within itself, such as &COORD, into the run folder
    simulation = make_simulation(translation.all_settings())
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

from .app.inputs.cp2k import read_cp2k
from .app.inputs.gromacs import read_gromacs
from .app.inputs.translation import Entry, Place, Translation
from .app.run import md_run
from .app.run.equilibrate import set_velocities
from .app.run.hybrid_system import force_field_of, is_hybrid, mix, read_hybrid_structure
from .app.run.integrators import make_production_integrator
from .app.run.md_system import make_setup
from .app.run.md_system import make_simulation as _simulation_of
from .app.run.run_config import RunConfig, make_config
from .app.structures.structure_files import Structure
from .hybrid.builder import MixedSystem

__all__ = [
    "Entry", "Place", "Translation", "make_force_field", "make_mixed_system", "make_simulation", "read_cp2k",
    "read_gromacs", "start_run",
]  # fmt: skip


def start_run(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Do what ``openmm-nequip run`` does.

    Parameters
    ----------
    settings : mapping of str to value
        As in its TOML file, with ``_`` or ``-``.

    Returns
    -------
    dict
        What is in ``summary.json``.

    Raises
    ------
    ValueError, RuntimeError, ImportError, OSError
        As :func:`openmm_nequip.app.run.md_run.start_run`.
    """
    return md_run.start_run(make_config(settings)).summary


def make_simulation(settings: Mapping[str, Any]) -> app.Simulation:
    """An OpenMM Simulation of a run's production, at its start: nothing is minimised, equilibrated or written.

    Parameters
    ----------
    settings : mapping of str to value
        As of :func:`start_run`.

    Returns
    -------
    openmm.app.Simulation
        With positions and velocities.

    Raises
    ------
    ValueError
        For a bad setting, structure or model.
    """
    config = make_config(settings)
    setup = make_setup(config)
    simulation = _simulation_of(config, setup, make_production_integrator(config, setup.system))
    simulation.context.setPositions(setup.structure.positions_nm * unit.nanometer)
    set_velocities(config, setup, simulation.context)
    return simulation


def make_force_field(settings: Mapping[str, Any]) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """The force field of a hybrid run alone, without the model.

    Parameters
    ----------
    settings : mapping of str to value
        As of :func:`start_run`.

    Returns
    -------
    topology : openmm.app.Topology
    system : openmm.System
        Position restraints included, no barostat.
    positions : numpy.ndarray, (n_atoms, 3) float64
        nm, molecules in one piece.

    Raises
    ------
    ValueError
        For a bad setting, structure or force field, or where there is none.
    """
    structure, system = _force_field_of(_hybrid_config(settings))
    return structure.topology, system, structure.positions_nm


def make_mixed_system(settings: Mapping[str, Any]) -> MixedSystem:
    """The System of a hybrid run, with the report of what the model replaces.

    Parameters
    ----------
    settings : mapping of str to value
        As of :func:`start_run`.

    Returns
    -------
    openmm_nequip.hybrid.MixedSystem

    Raises
    ------
    ValueError
        As :func:`make_force_field`, or if the model cannot be used.
    """
    config = _hybrid_config(settings)
    return mix(config, *_force_field_of(config))


def _hybrid_config(settings: Mapping[str, Any]) -> RunConfig:
    config = make_config(settings)
    if not is_hybrid(config):
        raise ValueError("the settings name no force field: ml_atoms, and forcefield or topology, make a hybrid run")
    return config


def _force_field_of(config: RunConfig) -> tuple[Structure, openmm.System]:
    return force_field_of(config, read_hybrid_structure(config))
