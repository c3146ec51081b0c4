"""Set-ups of other engines: read into settings of a run, and run.

::

    from openmm_nequip.inputs import read_cp2k, make_simulation

    translation = read_cp2k("water.inp")
    print(translation.report())
    simulation = make_simulation(translation.all_settings())
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openmm.app as app
import openmm.unit as unit

from .app.inputs.cp2k import read_cp2k
from .app.inputs.gromacs import read_gromacs
from .app.inputs.translation import Entry, Place, Translation
from .app.run import md_run
from .app.run.equilibrate import set_velocities
from .app.run.integrators import make_production_integrator
from .app.run.md_system import make_setup
from .app.run.md_system import make_simulation as _simulation_of
from .app.run.run_config import make_config

__all__ = ["Entry", "Place", "Translation", "make_simulation", "read_cp2k", "read_gromacs", "start_run"]


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
