"""
Multiple time steps
===================

The model is what costs. With ``MTSIntegrator`` it is evaluated once in an outer step, the force field in every inner
step of 0.5 fs. How long may the outer step be? ``examples/multiple_time_steps`` is the long form.
"""

# %%
# Alanine dipeptide by the model, in force group 1, in a small box of water by a force field, in group 0.
from importlib.resources import files

import matplotlib.pyplot as plt
import openmm
import openmm.app as app
import openmm.unit as unit

import openmm_nequip

data = files("openmm_nequip") / "data"
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
forcefield = app.ForceField("amber14-all.xml", "amber14/tip3p.xml")
modeller = app.Modeller(pdb.topology, pdb.positions)
modeller.addSolvent(forcefield, boxSize=openmm.Vec3(1.9, 1.9, 1.9))
mm_system = forcefield.createSystem(
    modeller.topology, nonbondedMethod=app.PME, nonbondedCutoff=0.8, switchDistance=0.7
)
model = str(data / "alanine-dipeptide.nequip.zip")
mixed = openmm_nequip.create_mixed_system(
    modeller.topology, mm_system, "not water", model, forceGroup=1
)

# %%
# One start for all, after half a picosecond with a thermostat.
platform = openmm.Platform.getPlatform("CPU")
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 10 / unit.picosecond, 0.5 * unit.femtosecond
)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(modeller.topology, mixed.system, integrator, platform)
simulation.context.setPositions(modeller.positions)
simulation.minimizeEnergy(maxIterations=100)
simulation.context.setVelocitiesToTemperature(300 * unit.kelvin, 1)
simulation.step(1000)
start = simulation.context.getState(positions=True, velocities=True)


# %%
# The total energy at constant energy, for outer steps of different length.
def total_energies(outer_fs):
    """Times (fs) and total energies (kJ/mol) of 240 fs."""
    groups = [(1, 1), (0, round(outer_fs / 0.5))]
    steps = openmm.MTSIntegrator(outer_fs * unit.femtosecond, groups)
    steps.setConstraintTolerance(1e-7)
    context = openmm.Context(mixed.system, steps, platform)
    context.setPositions(start.getPositions())
    context.setVelocities(start.getVelocities())
    times, energies = [], []
    for _ in range(40):
        steps.step(round(6 / outer_fs))
        state = context.getState(energy=True)
        times.append(state.getTime().value_in_unit(unit.femtosecond))
        total = state.getPotentialEnergy() + state.getKineticEnergy()
        energies.append(total.value_in_unit(unit.kilojoule_per_mole))
    return times, energies


runs = {outer: total_energies(outer) for outer in (0.5, 1.0, 2.0)}

# %%
# One femtosecond is nearly as good as half of one. At 2 fs the energy fluctuates several times as much; at 3 fs, the
# period of the fastest vibration divided by π, the peptide falls apart at once.
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
styles = {0.5: ("black", "-"), 1.0: ("#0072b2", "-"), 2.0: ("#d55e00", "--")}
for outer, (times, energies) in runs.items():
    colour, style = styles[outer]
    axes.plot(
        times,
        [e - runs[0.5][1][0] for e in energies],
        style,
        color=colour,
        label=f"outer step {outer:g} fs",
    )
axes.set(xlabel="time, fs", ylabel="total energy - first value, kJ/mol")
axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
plt.show()
