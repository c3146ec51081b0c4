"""
A liquid: structure and diffusion
=================================

Liquid argon in the state that Rahman simulated in 1964: 94.4 K, 1.374 g/mL. The potential is a function of a few
lines. Do the pair distribution and the diffusion coefficient come out as they were published?
"""

# %%
# Any function of tensors is a potential once its inputs are declared: here the positions in Å and each pair within 10 Å
# once, with what is to be added to its vector at the faces of the box.
import ase.build
import matplotlib.pyplot as plt
import mdtraj
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch

import openmm_nequip
from openmm_nequip.crystal import fromAse


def argon(positions, pairs, shifts):
    """Lennard-Jones energy in eV, faded out between 9 and 10 Å."""
    r = torch.linalg.vector_norm(
        positions[pairs[:, 1]] - positions[pairs[:, 0]] + shifts, dim=1
    )
    x = (r - 9).clamp(0, 1)
    fade = 1 - x**3 * (10 - 15 * x + 6 * x**2)
    s6 = (3.405 / r) ** 6
    return (4 * 0.010321 * (s6 * s6 - s6) * fade).sum()


potential = openmm_nequip.potential_from(
    argon,
    "positions,pairs,shifts,cutoff=10,list=half,vectors=second-first",
    units=("angstrom", "eV"),
)

# %%
# 256 atoms of a crystal with the density of the liquid, molten at 200 K and cooled.
crystal = fromAse(ase.build.bulk("Ar", cubic=True, a=5.781), supercell=4)
system = potential.createSystem(crystal.topology)
platform = openmm.Platform.getPlatform("Reference")
integrator = openmm.LangevinMiddleIntegrator(
    200 * unit.kelvin, 5 / unit.picosecond, 5 * unit.femtosecond
)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(crystal.topology, system, integrator, platform)
simulation.context.setPositions(crystal.positions)
simulation.context.setVelocitiesToTemperature(200 * unit.kelvin, 1)
simulation.step(600)
integrator.setTemperature(94.4 * unit.kelvin)
simulation.step(800)
potentials = []
for _ in range(100):
    simulation.step(10)
    potentials.append(simulation.context.getState(energy=True).getPotentialEnergy()._value)
liquid = simulation.context.getState(positions=True, velocities=True, energy=True)

# %%
# A thermostat would change the diffusion: 12 ps at constant energy, with a look every 50 fs. The velocities are scaled
# so that the total energy is that of 94.4 K. OpenMM does not wrap positions by itself, so atoms can be followed.
freedom = 3 * 256 - 3
heat = 0.5 * freedom * 0.0083144626 * 94.4  # kJ/mol
wanted = heat + np.mean(potentials) - liquid.getPotentialEnergy()._value
velocities = liquid.getVelocities(asNumpy=True) * np.sqrt(
    wanted / liquid.getKineticEnergy()._value
)
motion = app.Simulation(
    crystal.topology, system, openmm.VerletIntegrator(5 * unit.femtosecond), platform
)
motion.context.setPositions(liquid.getPositions())
motion.context.setVelocities(velocities)
frames, temperatures = [], []
for _ in range(240):
    motion.step(10)
    state = motion.context.getState(positions=True, energy=True)
    frames.append(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
    kinetic = state.getKineticEnergy() / (0.5 * freedom * unit.MOLAR_GAS_CONSTANT_R)
    temperatures.append(kinetic.value_in_unit(unit.kelvin))
frames = np.array(frames)
print(f"temperature {np.mean(temperatures):.1f} K")

# %%
# The pair distribution by mdtraj, the diffusion coefficient from the slope of the mean square displacement.
box = np.diag(crystal.box.value_in_unit(unit.nanometer))
trajectory = mdtraj.Trajectory(
    frames,
    mdtraj.Topology.from_openmm(crystal.topology),
    unitcell_lengths=np.tile(box, (len(frames), 1)),
    unitcell_angles=np.full((len(frames), 3), 90.0),
)
pairs = trajectory.topology.select_pairs("all", "all")
r, g = mdtraj.compute_rdf(trajectory, pairs, r_range=(0.2, 1.1), bin_width=0.01)
lags = np.arange(1, 120)
msd = np.array([((frames[lag:] - frames[:-lag]) ** 2).sum(-1).mean() for lag in lags])  # nm^2
times = lags * 0.05  # ps
late = times > 1.5
slope, start = np.polyfit(times[late], msd[late], 1)
print(f"first peak {10 * r[g.argmax()]:.2f} Å (published: 3.7), height {g.max():.2f}")
print(f"diffusion {slope / 6 * 1e-6 * 1e9:.2f}e-9 m2/s (published, 864 atoms: 2.43e-9)")

# %%
# Two shells of neighbours, and displacements that grow with time as those of a liquid do.
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
left.plot(10 * r, g, color="#0072b2")
left.axhline(1, color="gray", lw=0.8, ls=":")
left.axvline(3.7, color="#d55e00", lw=1, ls="--", label="Rahman 1964")
left.set(xlabel="r, Å", ylabel="g(r)", ylim=(0, None))
left.legend(frameon=False)
right.plot(times, 100 * msd, color="#0072b2", label="simulation")
right.plot(
    times,
    600 * 2.43e-3 * times + 100 * start,
    color="#d55e00",
    ls="--",
    label="slope of Rahman 1964",
)
right.set(xlabel="time, ps", ylabel="mean square displacement, Å$^2$", ylim=(0, None))
right.legend(frameon=False)
plt.show()
