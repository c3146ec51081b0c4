"""
A molecule by the model, water by a force field
===============================================

Alanine dipeptide in a small box of TIP3P water. Which energies belong to whom?
"""

# %%
# The System of the force field first.
from importlib.resources import files

import matplotlib.pyplot as plt
import openmm
import openmm.app as app
import openmm.unit as unit

import openmm_nequip

data = files("openmm_nequip") / "data"
model = str(data / "alanine-dipeptide.nequip.zip")
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
modeller = app.Modeller(pdb.topology, pdb.positions)
modeller.addSolvent(forcefield, boxSize=openmm.Vec3(2, 2, 2))
mm_system = forcefield.createSystem(
    modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8
)

# %%
# The model takes the place of the force field's terms inside the peptide. The report says which.
mixed = openmm_nequip.create_mixed_system(
    modeller.topology, mm_system, "not water", model, forceGroup=1
)
print(mixed.report)

# %%
# The model is in force group 1, so its energy can be asked for alone.
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 1 / unit.picosecond, 1 * unit.femtosecond
)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(modeller.topology, mixed.system, integrator)
simulation.context.setPositions(modeller.positions)
simulation.minimizeEnergy(maxIterations=50)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
times, by_model, by_force_field = [], [], []
for _ in range(40):
    simulation.step(5)
    context = simulation.context
    times.append(context.getTime().value_in_unit(unit.femtosecond))
    by_model.append(context.getState(energy=True, groups={1}).getPotentialEnergy()._value)
    by_force_field.append(context.getState(energy=True, groups={0}).getPotentialEnergy()._value)

# %%
# The peptide's energy rises to what 300 K give it. The water, freshly put in, takes up heat at once and then falls as
# it finds its places: such a box is not equilibrated yet.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(times, [e - by_model[0] for e in by_model], color="#0072b2", label="peptide, by the model")
rest = [e - by_force_field[0] for e in by_force_field]
axes.plot(times, rest, color="#d55e00", ls="--", label="all else, by amber14")
axes.set(xlabel="time, fs", ylabel="potential energy - first value, kJ/mol")
axes.legend(frameon=False)
plt.show()
