"""Step 6: the trained model in OpenMM: the same numbers as in nequip, constant energy, and a thermostat.

Trajectories come back as ASE's atoms in the frame of the crystal as it was given; the reference potential then gives
its opinion of every frame. Run: ``python 6_dynamics.py [--crystal mp-66] [--picoseconds 1] [--output output]``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np
import openmm
import torch
from ase import Atoms, units
from common import SUPERCELLS, labelled, load_crystals, load_model, new_picture, predict
from openmmml import MLPotential
from tqdm.auto import tqdm

from openmm_nequip.crystal import Crystal, fromAse
from openmm_nequip.units import KJ_PER_MOL_PER_EV

#: Cells of the crystals in the dynamics, 64 to 108 atoms: larger than those of the training.
LARGE = {"mp-47": (3, 3, 3), "mp-48": (4, 4, 1), "mp-66": (3, 2, 2), "mp-169": (2, 4, 2)}
TIMESTEP_FS = 0.5
#: Steps between frames.
STRIDE = 20
FRICTION_PER_PS = 2.0
#: Kinetic energy, eV per atom, of a run that blew up: 8000 K.
LOST = 1.0


def make_context(crystal: Crystal, potential: MLPotential, integrator: openmm.Integrator) -> openmm.Context:
    """A Context of a crystal, all of its atoms by the model, at the given positions."""
    system = potential.createSystem(crystal.topology)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("CPU"), {"Threads": "1"})
    context.setPositions(crystal.positions)
    return context


def to_user(crystal: Crystal, state: openmm.State) -> Atoms:
    """A state as ASE's atoms with energy and forces, in eV, angstrom and the user's frame."""
    return crystal.toAse(
        state.getPositions(asNumpy=True),
        state.getPeriodicBoxVectors(asNumpy=True),
        energy=state.getPotentialEnergy(),
        forces=state.getForces(asNumpy=True),
    )


def compare(potential: MLPotential, model: torch.nn.Module) -> None:
    """Energies and forces of OpenMM and of nequip, for every crystal, its atoms moved at random."""
    print("OpenMM against nequip   energy, eV     difference, eV/atom   largest force difference, eV/A")
    for name, atoms in load_crystals().items():
        atoms = atoms * SUPERCELLS[name]
        atoms.rattle(0.05, seed=1)
        crystal = fromAse(atoms)
        state = make_context(crystal, potential, openmm.VerletIntegrator(0.001)).getState(
            getPositions=True, getEnergy=True, getForces=True
        )
        found, expected = to_user(crystal, state), predict(model, [atoms])
        wrong = abs(found.get_potential_energy() / len(atoms) - expected["energies"][0])
        wrong_force = np.abs(found.get_forces() - expected["forces"]).max()
        print(f"{name:22}{found.get_potential_energy():13.6f}{wrong:22.1e}{wrong_force:25.1e}")


def run(crystal: Crystal, context: openmm.Context, picoseconds: float, label: str) -> tuple[np.ndarray, list[Atoms]]:
    """Integrate.

    Returns
    -------
    rows : numpy.ndarray, (n_frames, 3)
        Time in ps, potential and kinetic energy in eV per atom.
    frames : list of ase.Atoms
        In the user's frame.

    Raises
    ------
    SystemExit
        If the atoms fly apart.
    """
    count = max(2, round(picoseconds * 1000 / (TIMESTEP_FS * STRIDE)))
    rows, frames = [], []
    for _ in tqdm(range(count), desc=label, leave=False, disable=None):
        context.getIntegrator().step(STRIDE)
        state = context.getState(getPositions=True, getEnergy=True, getForces=True)
        energies = np.array([state.getPotentialEnergy()._value, state.getKineticEnergy()._value])
        rows.append((state.getTime()._value, *energies / KJ_PER_MOL_PER_EV / len(crystal.atoms)))
        if not rows[-1][2] < LOST:
            raise SystemExit(
                f"the run blew up before {rows[-1][0]:.3f} ps: the kinetic energy is {rows[-1][2]:.3g} eV/atom. The "
                "model has left what it was trained on; train it longer, or on frames like those of this run"
            )
        frames.append(to_user(crystal, state))
    return np.array(rows), frames


def relabel(name: str, frames: list[Atoms], model: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """What the reference says about frames of the model, printed.

    Returns
    -------
    energies : numpy.ndarray, (2, n_frames)
        eV per atom, of the model and of the reference.
    forces : numpy.ndarray, (2, n_frames, n_atoms, 3)
        eV/angstrom.
    """
    for frame in frames:
        frame.info["id"] = name
    reference = [labelled(frame) for frame in tqdm(frames, desc="reference", leave=False, disable=None)]
    energies = np.array([[f.get_potential_energy() / len(f) for f in each] for each in (frames, reference)])
    forces = np.array([[f.get_forces() for f in each] for each in (frames, reference)])
    stresses = predict(model, frames)["stresses"], [f.get_stress(voigt=False) for f in reference]
    ours, theirs = (-np.trace(np.mean(stress, axis=0)) / 3 / units.GPa for stress in stresses)
    wrong = 1e3 * (energies[0] - energies[1])
    print("the same frames by the reference:")
    print(f"  energies off by {np.abs(wrong).mean():.2f} meV/atom, {wrong.std():.2f} without the mean difference")
    print(f"  forces off by {1e3 * np.abs(forces[0] - forces[1]).mean():.0f} meV/A, ", end="")
    print(f"their rms is {1e3 * np.sqrt((forces[1] ** 2).mean()):.0f} meV/A")
    print(f"  mean pressure without its kinetic part {ours:.2f} GPa, by the reference {theirs:.2f} GPa")
    return energies, forces


def draw(nve: np.ndarray, nvt: np.ndarray, energies: np.ndarray, forces: np.ndarray, path: Path) -> None:
    """Energies at constant energy; energies and forces of both potentials with the thermostat."""
    figure, (left, middle, right) = new_picture(3)
    parts = {"potential": (nve[:, 1], "tab:blue"), "kinetic": (nve[:, 2], "tab:orange")}
    for label, (values, color) in (parts | {"total": (nve[:, 1] + nve[:, 2], "k")}).items():
        left.plot(nve[:, 0], 1e3 * (values - values.mean()), label=label, color=color, linewidth=1)
    left.set(xlabel="time, ps", ylabel="energy less its mean, meV/atom", title="constant energy")
    for label, values, color in zip(("model", "reference"), energies, ("k", "tab:red"), strict=True):
        middle.plot(nvt[:, 0], 1e3 * (values - energies[1].mean()), label=label, color=color, linewidth=1)
    middle.set(xlabel="time, ps", ylabel="potential energy, meV/atom", title="thermostat, frames of the model")
    some = forces[:, ::20].reshape(2, -1)
    right.scatter(some[1], some[0], s=4, color="tab:blue", linewidths=0)
    ends = np.abs(forces).max() * np.array([-1, 1])
    right.plot(ends, ends, color="0.6", linewidth=0.8, zorder=0)
    right.set(xlabel="reference, eV/Å", ylabel="model, eV/Å", title="forces of these frames")
    left.legend(frameon=False, fontsize=8)
    middle.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=72)


def main() -> None:
    """Compare with nequip, run at constant energy and at constant temperature, relabel, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crystal", default="mp-66", choices=list(LARGE), help="which crystal to run")
    parser.add_argument("--temperature", type=float, default=300.0, help="kelvin")
    parser.add_argument("--picoseconds", type=float, default=1.0, help="length of each of the two runs")
    parser.add_argument("--eager", action="store_true", help="run the model uncompiled: slower, but starts at once")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the model and for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # a second thread gains nothing for 64 atoms
    path = arguments.output / "carbon.nequip.zip"
    model = load_model(path)
    potential = MLPotential("nequip", modelPath=str(path), **({"compile": False} if arguments.eager else {}))
    compare(potential, model)

    crystal = fromAse(load_crystals()[arguments.crystal], LARGE[arguments.crystal])
    print(f"\n{arguments.crystal}, {len(crystal.atoms)} atoms, {TIMESTEP_FS:g} fs steps")
    context = make_context(crystal, potential, openmm.VerletIntegrator(TIMESTEP_FS / 1000))
    # The atoms start on their lattice sites: half of the kinetic energy goes into the bonds at once.
    context.setVelocitiesToTemperature(2 * arguments.temperature, 1)
    nve, _ = run(crystal, context, arguments.picoseconds, "constant energy")
    total = 1e3 * (nve[:, 1] + nve[:, 2])
    print(f"constant energy, {nve[-1, 0]:.2f} ps: the total energy drifts by ", end="")
    print(f"{np.polyfit(nve[:, 0], total, 1)[0]:.3f} meV/atom/ps and varies by {total.std():.3f} meV/atom, ", end="")
    print(f"the potential energy by {1e3 * nve[:, 1].std():.1f}")

    last = context.getState(getPositions=True, getVelocities=True)
    integrator = openmm.LangevinMiddleIntegrator(arguments.temperature, FRICTION_PER_PS, TIMESTEP_FS / 1000)
    integrator.setRandomNumberSeed(1)
    context = make_context(crystal, potential, integrator)
    context.setPositions(last.getPositions())
    context.setVelocities(last.getVelocities())
    nvt, frames = run(crystal, context, arguments.picoseconds, "thermostat")
    ase.io.write(arguments.output / "nvt.xyz", frames, format="extxyz")
    temperature = nvt[:, 2].mean() / (1.5 * units.kB)
    print(f"thermostat, {len(frames)} frames in nvt.xyz: {temperature:.0f} K on average")
    energies, forces = relabel(arguments.crystal, frames, model)
    draw(nve, nvt, energies, forces, arguments.output / "dynamics.png")


if __name__ == "__main__":
    main()
