"""
Free energy from the force field to the model
=============================================

How much does the free energy of a molecule change when a model takes the place of the force field? Two routes have to
give the same answer.
"""

# %%
# A hybrid System with ``interpolate=True`` has the force field at λ = 0 and the model at λ = 1. The third state of the
# cycle is another force field, amber03, from which a second such System leads to the same model.
#
# Turning φ and ψ takes longer than anything here, and what was not sampled is in no error bar. So all states share a
# weak bias that holds both near the minimum C7eq; the next page is about the rest of the circle. The guide to free
# energies tells how the free molecule is done: there ``benchmarks/two_routes.py`` takes the barriers away instead.
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit

import openmm_nequip
from openmm_nequip import free_energy

TEMPERATURE = 300 * unit.kelvin
data = files("openmm_nequip") / "data"
pdb = app.PDBFile(str(data / "alanine-dipeptide.pdb"))
model = str(data / "alanine-dipeptide.nequip.zip")
platform = openmm.Platform.getPlatform("Reference")


def held():
    """The weak bias on φ and ψ."""
    bias = openmm.CustomTorsionForce(
        f"25*off^2; off=min(d, {2 * np.pi}-d); d=abs(theta-centre)"
    )
    bias.addPerTorsionParameter("centre")
    bias.addTorsion(4, 6, 8, 10, [np.radians(-82)])
    bias.addTorsion(6, 8, 10, 16, [np.radians(70)])
    return bias


def by_force_field(name):
    """The System of a force field."""
    return app.ForceField(name).createSystem(pdb.topology)


def context_of(system, seed):
    """A Context with a Langevin integrator, of a System held near C7eq."""
    system.addForce(held())
    integrator = openmm.LangevinMiddleIntegrator(
        TEMPERATURE, 2 / unit.picosecond, 1 * unit.femtosecond
    )
    integrator.setRandomNumberSeed(seed)
    context = openmm.Context(system, integrator, platform)
    context.setPositions(pdb.positions)
    openmm.LocalEnergyMinimizer.minimize(context, maxIterations=50)
    context.setVelocitiesToTemperature(TEMPERATURE, seed)
    return context


def sample(context, count):
    """Frames, one every 100 fs, after 5 ps."""
    context.getIntegrator().step(5000)
    frames = []
    for _ in range(count):
        context.getIntegrator().step(100)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True))
    return frames


# %%
# The first route: four values of λ, 50 ps each. For each frame the energies at both ends are asked for; they give the
# reduced potential at every λ, and the model is evaluated once.
LAMBDAS = [0.0, 0.3, 0.65, 1.0]
COUNT = 500


def to_the_model(name, seed):
    """Free energies from a force field to the model along λ."""
    mixed = openmm_nequip.create_mixed_system(
        pdb.topology, by_force_field(name), "all", model, interpolate=True
    )
    context = context_of(mixed.system, seed)
    frames = []
    for value in LAMBDAS:
        context.setParameter("lambda_interpolate", value)
        frames += sample(context, COUNT)
    ends = free_energy.end_states(context, frames)
    reduced = free_energy.reduced_potentials(ends, LAMBDAS, TEMPERATURE)
    return free_energy.estimate(reduced, [COUNT] * len(LAMBDAS), LAMBDAS)


direct = to_the_model("amber14-all.xml", 1)
print(direct.describe(TEMPERATURE))

# %%
# The states share enough samples, and MBAR and BAR agree.
figure = plt.figure(figsize=(9, 3.8), layout="constrained")
free_energy.draw(figure, direct, TEMPERATURE, "λ")
plt.show()

# %%
# The second route goes by amber03. No model takes part in its first leg: frames of either force field, each with its
# energy in both.
fields = ["amber14-all.xml", "amber03.xml"]
contexts = [context_of(by_force_field(name), 10 + k) for k, name in enumerate(fields)]
frames = [sample(context, 4 * COUNT) for context in contexts]
energies = np.empty((2, 8 * COUNT))
for row, context in enumerate(contexts):
    for column, frame in enumerate(frames[0] + frames[1]):
        context.setPositions(frame)
        energies[row, column] = context.getState(energy=True).getPotentialEnergy()._value
thermal = (unit.MOLAR_GAS_CONSTANT_R * TEMPERATURE).value_in_unit(unit.kilojoule_per_mole)
between = free_energy.estimate(energies / thermal, [4 * COUNT] * 2, ["amber14", "amber03"])
onward = to_the_model("amber03.xml", 2)

# %%
# Errors of independent legs add as squares. Most of the number is the difference of two zeros of energy, here that of
# the force field and that of GFN2-xTB; it goes away where two such corrections are subtracted.
routes = {
    "MBAR along λ": direct.between(temperature=TEMPERATURE),
    "BAR along λ": direct.by_bar(TEMPERATURE),
}
legs = [part.between(temperature=TEMPERATURE) for part in (between, onward)]
routes["by amber03"] = (sum(leg[0] for leg in legs), float(np.hypot(legs[0][1], legs[1][1])))
for name, (value, error) in routes.items():
    print(f"{name:>12}: {value:.2f} ± {error:.2f} kJ/mol")

# %%
# The routes agree within their errors.
figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
values, errors = np.array(list(routes.values())).T
reference = values[0]
axes.errorbar(values - reference, range(3), xerr=2 * errors, fmt="o", color="#0072b2", capsize=4)
axes.axvline(0, color="gray", lw=0.8)
axes.set(
    yticks=range(3),
    yticklabels=list(routes),
    ylim=(2.6, -0.6),
    xlabel=f"free energy + {-reference:.2f} kJ/mol, ± 2 errors",
)
plt.show()
