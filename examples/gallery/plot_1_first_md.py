"""
First molecular dynamics
========================

A molecule by the model that comes with the package, at constant energy: how well is the energy kept?
"""

# %%
# A model file goes into OpenMM-ML's ``MLPotential``, a ``System`` comes out.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from openmmml import MLPotential

data = files("openmm_nequip") / "data"
model = str(data / "alanine-dipeptide.nequip.zip")
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
system = MLPotential("nequip", modelPath=model).createSystem(pdb.topology)

# %%
# OpenMM does the rest. The Reference platform is the fastest for so few atoms.
integrator = openmm.VerletIntegrator(0.5 * unit.femtosecond)
platform = openmm.Platform.getPlatform("Reference")
simulation = app.Simulation(pdb.topology, system, integrator, platform)
simulation.context.setPositions(pdb.positions)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)

# %%
# 200 fs, with a look every 2 fs.
times, potential, kinetic = [], [], []
for _ in range(100):
    simulation.step(4)
    state = simulation.context.getState(energy=True)
    times.append(state.getTime().value_in_unit(unit.femtosecond))
    potential.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
    kinetic.append(state.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole))

# %%
# Potential and kinetic energy change by tens of kJ/mol; their sum stays.
potential, kinetic = np.array(potential) - potential[0], np.array(kinetic) - kinetic[0]
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(times, potential, color="#0072b2", label="potential")
axes.plot(times, kinetic, color="#d55e00", ls="--", label="kinetic")
axes.plot(times, potential + kinetic, color="black", lw=2, label="total")
axes.set(xlabel="time, fs", ylabel="energy - first value, kJ/mol")
axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
plt.show()
