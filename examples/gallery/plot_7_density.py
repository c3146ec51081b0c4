"""
Density at constant pressure
============================

Argon at its boiling point, 87.3 K and 1 bar. A barostat is OpenMM's own; the volume finds its mean by itself.
"""

# %%
# The same potential as on the page of the liquid.
import ase.build
import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
import torch

import openmm_nequip
from openmm_nequip.crystal import fromAse
from openmm_nequip.reporters import ProgressReporter


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
# A crystal that is 12 % too thin, with a barostat that waits until it has molten.
crystal = fromAse(ase.build.bulk("Ar", cubic=True, a=6.0), supercell=3)
system = potential.createSystem(crystal.topology)
barostat = openmm.MonteCarloBarostat(1 * unit.bar, 87.3 * unit.kelvin, 0)
barostat.setRandomNumberSeed(2)
system.addForce(barostat)
integrator = openmm.LangevinMiddleIntegrator(
    200 * unit.kelvin, 5 / unit.picosecond, 5 * unit.femtosecond
)
integrator.setRandomNumberSeed(1)
platform = openmm.Platform.getPlatform("Reference")
simulation = app.Simulation(crystal.topology, system, integrator, platform)
simulation.context.setPositions(crystal.positions)
simulation.context.setVelocitiesToTemperature(200 * unit.kelvin, 1)
simulation.step(600)

# %%
# Then at 87.3 K with a trial of the volume every 5 steps. In a notebook the bar moves; in a file nothing is written.
integrator.setTemperature(87.3 * unit.kelvin)
barostat.setFrequency(5)
simulation.context.reinitialize(preserveState=True)
simulation.reporters.append(ProgressReporter(100, 6000))
mass = 108 * 39.948  # u
times, densities = [], []
for _ in range(300):
    simulation.step(20)
    volume = (
        simulation.context.getState().getPeriodicBoxVolume().value_in_unit(unit.angstrom**3)
    )
    times.append(simulation.context.getTime().value_in_unit(unit.picosecond))
    densities.append(mass / volume * 1.66053907)  # g/mL

# %%
# The mean of the second half, with an error from five blocks. The attraction ends at 10 Å and nothing stands for the
# rest, which costs some per cent of the density.
half = np.array(densities[len(densities) // 2 :])
blocks = half.reshape(5, -1).mean(axis=1)
mean, error = blocks.mean(), blocks.std(ddof=1) / np.sqrt(5)
print(f"density {mean:.3f} ± {error:.3f} g/mL, measured 1.395 g/mL")
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(times, densities, color="#0072b2", lw=1)
axes.axhspan(
    mean - 2 * error,
    mean + 2 * error,
    color="#0072b2",
    alpha=0.25,
    lw=0,
    label="mean ± 2 errors",
)
axes.axhline(1.395, color="#d55e00", ls="--", label="liquid argon, measured")
axes.set(xlabel="time, ps", ylabel="density, g/mL")
axes.legend(frameon=False, loc="lower right")
plt.show()
