"""
From the force field to the model
=================================

One global parameter, λ, leads from the force field (0) to the model (1). How far apart are they?
"""

# %%
# A hybrid System of which the whole molecule is the region, with ``interpolate=True``.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

import openmm_nequip

data = files("openmm_nequip") / "data"
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
mm_system = app.ForceField("amber14-all.xml").createSystem(pdb.topology)
model = str(data / "alanine-dipeptide.nequip.zip")
mixed = openmm_nequip.create_mixed_system(
    pdb.topology, mm_system, "all", model, interpolate=True
)
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 10 / unit.picosecond, 0.5 * unit.femtosecond
)
integrator.setRandomNumberSeed(1)
platform = openmm.Platform.getPlatform("Reference")
simulation = app.Simulation(pdb.topology, mixed.system, integrator, platform)
context = simulation.context
context.setPositions(pdb.positions)
context.setParameter("lambda_interpolate", 0)
context.setVelocitiesToTemperature(300 * unit.kelvin, 1)


# %%
# Sampled by the force field; for each frame the energy difference U(1) - U(0), which free-energy methods need.
def energy(value):
    """Potential energy in kJ/mol at a value of λ."""
    context.setParameter("lambda_interpolate", value)
    return context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


differences = []
for _ in range(200):
    context.setParameter("lambda_interpolate", 0)
    simulation.step(20)
    differences.append(energy(1) - energy(0))

# %%
# Its distribution tells whether the two overlap: the narrower, the fewer steps between them are needed.
differences = np.array(differences) - np.mean(differences)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.hist(differences, bins=25, color="#0072b2", edgecolor="white")
axes.axvspan(-2.494, 2.494, color="#e69f00", alpha=0.4, label="±kT at 300 K")
axes.set(xlabel="U(λ = 1) - U(λ = 0), less its mean, kJ/mol", ylabel="frames")
axes.legend(frameon=False)
plt.show()
