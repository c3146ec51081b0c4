"""Molecular dynamics as ASE runs it: Langevin to 300 K, then a stretch at constant energy, with NequIPCalculator."""

from __future__ import annotations

import argparse

import numpy as np
from ase import units
from ase.io import read, write
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from nequip.integrations.ase import NequIPCalculator

TEMPERATURE_K = 300
STEP_FS = 0.5
FRICTION_PER_FS = 0.01


def main() -> None:
    """Write ``start.traj``, one frame after Langevin, and ``ase.traj``, every step at constant energy from there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure", help="any file ASE reads")
    parser.add_argument("model", help=".nequip.pt2 of nequip-compile --target ase")
    parser.add_argument("--langevin-steps", type=int, default=2000)
    parser.add_argument("--nve-steps", type=int, default=100)
    arguments = parser.parse_args()

    atoms = read(arguments.structure)
    atoms.calc = NequIPCalculator.from_compiled_model(
        arguments.model, device="cpu", chemical_species_to_atom_type_map=True
    )
    rng = np.random.default_rng(1)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE_K, rng=rng)  # ASE before 3.29: MaxwellBoltzmannDistribution

    langevin = Langevin(
        atoms,
        STEP_FS * units.fs,
        temperature_K=TEMPERATURE_K,
        friction=FRICTION_PER_FS / units.fs,
        fixcm=False,
        rng=rng,
    )
    langevin.run(arguments.langevin_steps)
    write("start.traj", atoms)

    verlet = VelocityVerlet(atoms, STEP_FS * units.fs)
    with Trajectory("ase.traj", "w", atoms) as trajectory:
        verlet.attach(trajectory.write, interval=1)
        verlet.run(arguments.nve_steps)
    print(f"ase.traj: {arguments.nve_steps} steps, total energy at the end {atoms.get_total_energy():.6f} eV")


if __name__ == "__main__":
    main()
