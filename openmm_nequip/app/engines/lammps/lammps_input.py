"""What LAMMPS is told: a data file and commands, in its metal units (Å, ps, eV, bar)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: The fix and the compute that the commands define.
MODEL_FIX, UNWRAPPED = "model", "unwrapped"
#: Distance beyond the cutoff up to which neighbours are kept, Å.
SKIN = 1.0
#: Damping time of the barostat, ps: many vibrations, and short against a run.
PRESSURE_DAMPING_PS = 1.0
#: Room around atoms that have no box, Å, for flat ones too; LAMMPS moves the faces outwards by itself.
_ROOM = 1.0


@dataclass(frozen=True)
class Dynamics:
    """How LAMMPS takes steps.

    Parameters
    ----------
    timestep : float
        ps.
    seed : int
        Of the thermostat, > 0.
    temperature : float, optional
        Of a Langevin thermostat, K; None for none.
    friction : float
        Of the thermostat, 1/ps.
    pressure : float, optional
        Of a barostat for all directions alike, bar; None for none.
    """

    timestep: float
    seed: int = 1
    temperature: float | None = None
    friction: float = 0.0
    pressure: float | None = None


def data_file(
    positions: np.ndarray, velocities: np.ndarray, types: Sequence[int], masses: Sequence[float], box: np.ndarray | None
) -> str:
    """A LAMMPS data file, with images so that molecules stay where they are.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        Å, any image.
    velocities : numpy.ndarray, (n_atoms, 3) float64
        Å/ps.
    types : sequence of int
        LAMMPS type of each atom, from 1.
    masses : sequence of float
        Of each type, Da.
    box : numpy.ndarray, (3, 3) float64, or None
        Reduced box vectors in Å, None without a box.

    Returns
    -------
    str
    """
    images = np.zeros((len(positions), 3), dtype=np.int64)
    tilt = ""
    if box is None:
        low, high = positions.min(axis=0) - _ROOM, positions.max(axis=0) + _ROOM
    else:
        images = np.floor(positions @ np.linalg.inv(box)).astype(np.int64)
        positions = positions - images @ box
        low, high = np.zeros(3), np.diag(box)
        if np.any(box[[1, 2, 2], [0, 0, 1]] != 0.0):
            tilt = f"{float(box[1, 0])!r} {float(box[2, 0])!r} {float(box[2, 1])!r} xy xz yz"
    lines = ["atoms of a run", "", f"{len(positions)} atoms", f"{len(masses)} atom types", ""]
    lines += [f"{float(a)!r} {float(b)!r} {x}lo {x}hi" for a, b, x in zip(low, high, "xyz", strict=True)]
    lines += [tilt] if tilt else []
    lines += ["", "Masses", ""] + [f"{i} {float(mass)!r}" for i, mass in enumerate(masses, 1)]
    rows = zip(types, positions.tolist(), images.tolist(), strict=True)
    lines += ["", "Atoms # atomic", ""]
    lines += [f"{i} {t} {x!r} {y!r} {z!r} {a} {b} {c}" for i, (t, (x, y, z), (a, b, c)) in enumerate(rows, 1)]
    lines += ["", "Velocities", ""]
    lines += [f"{i} {x!r} {y!r} {z!r}" for i, (x, y, z) in enumerate(velocities.tolist(), 1)]
    return "\n".join(lines) + "\n"


def start_commands(data: str, periodic: bool, step: int, newton: bool, force: Sequence[str]) -> list[str]:
    """Commands from an empty LAMMPS to atoms on which a model acts.

    Parameters
    ----------
    data : str
        Path of the data file.
    periodic : bool
        Whether there is a box.
    step : int
        Step that the run is at.
    newton : bool
        Whether ranks share the work on pairs.
    force : sequence of str
        Commands that make the force.

    Returns
    -------
    list of str
    """
    return [
        "clear",
        "units metal",
        "atom_style atomic",
        "atom_modify map yes sort 0 0.0",
        f"boundary {'p p p' if periodic else 'm m m'}",
        f"newton {'on' if newton else 'off'}",
        "box tilt large",
        f'read_data "{data}"',
        # The faces between ranks are moved until all have as many atoms; does nothing on one rank.
        "balance 1.0 shift xyz 20 1.001",
        *force,
        f"neighbor {SKIN!r} bin",
        "neigh_modify every 1 delay 0 check yes",
        f"compute {UNWRAPPED} all property/atom xu yu zu",
        "thermo_style custom step pe etotal press",
        "thermo_modify norm no lost error",
        "thermo 0",
        f"reset_timestep {step}",
    ]


def dynamics_commands(dynamics: Dynamics) -> list[str]:
    """Commands for an integrator, with a thermostat and a barostat if there are to be any.

    Parameters
    ----------
    dynamics : Dynamics
        How to take steps.

    Returns
    -------
    list of str
    """
    lines = [f"timestep {dynamics.timestep!r}"]
    if dynamics.pressure is None:
        lines.append("fix integrator all nve")
    else:
        pressure = f"{dynamics.pressure!r} {dynamics.pressure!r} {PRESSURE_DAMPING_PS!r}"
        # The mass of the barostat follows from a temperature: atoms that are still at rest have none.
        temperature = f" ptemp {dynamics.temperature!r}" if dynamics.temperature else ""
        lines.append(f"fix integrator all nph iso {pressure}{temperature}")
    if dynamics.temperature is not None and dynamics.friction > 0:
        warm = f"{dynamics.temperature!r} {dynamics.temperature!r} {1.0 / dynamics.friction!r}"
        # Without net momentum, as OpenMM's runs, whose centre of mass rests.
        lines.append(f"fix thermostat all langevin {warm} {dynamics.seed} zero yes")
    return lines


def box_of(extracted: Sequence[Any]) -> list[list[float]]:
    """Box vectors (3, 3) in Å from what LAMMPS' ``extract_box`` gives.

    Parameters
    ----------
    extracted : sequence
        Low and high corner, xy, yz, xz, and more.

    Returns
    -------
    list of list of float
    """
    low, high, xy, yz, xz = extracted[:5]
    a, b, c = (top - bottom for bottom, top in zip(low, high, strict=True))
    return [[a, 0.0, 0.0], [xy, b, 0.0], [xz, yz, c]]
