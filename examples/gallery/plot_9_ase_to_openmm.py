"""
From ASE to OpenMM
==================

The same model file in nequip's calculator for ASE and in OpenMM, from the same start: are the trajectories the same?
``examples/ase_to_openmm`` has the scripts side by side.
"""

# %%
# One file for both: the package as TorchScript, which ``openmm-nequip compile`` makes and compares with the package.
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from ase import units
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from nequip.integrations.ase import NequIPCalculator
from openmmml import MLPotential

data = files("openmm_nequip") / "data"
package = str(data / "alanine-dipeptide.nequip.zip")
model = str(Path(tempfile.mkdtemp()) / "alanine-dipeptide.nequip.pth")
command = [
    "-m",
    "openmm_nequip",
    "compile",
    package,
    "--mode",
    "torchscript",
    "--output",
    model,
]
subprocess.run([sys.executable, *command], check=True, capture_output=True)

# %%
# ASE: a calculator, velocities, velocity Verlet.
atoms = ase.io.read(str(data / "alanine-dipeptide.pdb"))
atoms.calc = NequIPCalculator.from_compiled_model(
    model, device="cpu", chemical_species_to_atom_type_map=True
)
thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(1))
first_positions, first_velocities = atoms.get_positions(), atoms.get_velocities()
dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
by_ase, ase_energies = [], []
for _ in range(100):
    dynamics.run(2)
    by_ase.append(atoms.get_positions())
    ase_energies.append(atoms.get_total_energy())

# %%
# OpenMM: a System, and the same integrator, since OpenMM's own Verlet has its velocities half a step earlier.
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
system = MLPotential("nequip", modelPath=model).createSystem(pdb.topology, removeCMMotion=False)
for index, mass in enumerate(atoms.get_masses()):
    system.setParticleMass(index, mass)
integrator = openmm.CustomIntegrator(0.5 * unit.femtosecond)
integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
integrator.addComputePerDof("x", "x + dt*v")
integrator.addComputePerDof("v", "v + 0.5*dt*f/m")
context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
context.setPositions(0.1 * first_positions)  # Å to nm
context.setVelocities(first_velocities * 0.1 * 1000 * units.fs)  # ASE's unit to nm/ps
by_openmm, openmm_energies = [], []
for _ in range(100):
    integrator.step(2)
    state = context.getState(positions=True, energy=True)
    by_openmm.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    total = state.getPotentialEnergy() + state.getKineticEnergy()
    openmm_energies.append(total.value_in_unit(unit.kilojoule_per_mole) / 96.48533212)

# %%
# The model computes in single precision, and molecules are chaotic: the difference grows from rounding, slowly.
times = np.arange(1, 101)
apart = [np.abs(one - other).max() for one, other in zip(by_ase, by_openmm, strict=True)]
moved = [np.abs(one - first_positions).max() for one in by_ase]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
left.plot(
    times,
    1000 * (np.array(ase_energies) - ase_energies[0]),
    color="#0072b2",
    lw=3,
    alpha=0.5,
    label="ASE",
)
left.plot(
    times,
    1000 * (np.array(openmm_energies) - ase_energies[0]),
    color="#d55e00",
    ls="--",
    label="OpenMM",
)
left.set(xlabel="time, fs", ylabel="total energy - first value, meV")
left.legend(frameon=False)
right.semilogy(times, moved, color="black", label="atoms moved")
right.semilogy(times, apart, color="#0072b2", label="ASE and OpenMM apart")
right.set(xlabel="time, fs", ylabel="largest displacement, Å", ylim=(1e-9, 30))
right.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.8))
plt.show()
