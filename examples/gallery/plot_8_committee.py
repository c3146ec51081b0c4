"""
A committee: where do the models not know?
==========================================

Four models that know the same minimum and have never seen two atoms close to each other: their mean drives the run, how
far they are apart says where it has left what they know, and a bias keeps it where they agree.
"""

# %%
# The models are modules of our own for argon, so that the page needs no training: pair potentials with one depth and
# one distance of the minimum, and each with another wall. Files of NequIP and Allegro go to ``committee=`` likewise.
import csv

import matplotlib.pyplot as plt
import openmm
import openmm.app as app
import openmm.unit as unit
import torch
from ase.build import bulk
from openmmml import MLPotential

from openmm_nequip.reporters import DeviationReporter


class Argon(torch.nn.Module):
    """Pairs with a well of 10.3 meV at 3.82 Å, and a wall of its own; Å and eV."""

    def __init__(self, wall: float):
        super().__init__()
        self.wall = wall

    def forward(self, positions: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
        """The energy of atoms (n, 3) in a box (3, 3), each pair once, by the nearest image."""
        n = positions.shape[0]
        pairs = torch.triu_indices(n, n, 1)
        vectors = positions[pairs[1]] - positions[pairs[0]]
        vectors = vectors - torch.round(vectors @ torch.linalg.inv(box)) @ box
        x = 3.82 / torch.linalg.norm(vectors, dim=1)
        inside = (x > 3.82 / 5.0).to(x.dtype)
        end = (1 - (3.82 / 5.0 / x) ** 2) ** 2 * inside  # smooth to zero at 5 Å
        deep = 0.0103 / (self.wall / 6 - 1)
        return (deep * (x**self.wall - self.wall / 6 * x**6) * end).sum()


paths = []
for number, wall in enumerate((10.0, 12.0, 14.0, 16.0)):
    torch.jit.script(Argon(wall).double()).save(f"argon{number}.pt")
    paths.append(f"argon{number}.pt")
crystal = bulk("Ar", "fcc", 5.3, cubic=True) * (2, 2, 2)
topology = app.Topology()
residue = topology.addResidue("AR", topology.addChain())
for _ in crystal:
    topology.addAtom("Ar", app.Element.getBySymbol("Ar"), residue)
topology.setPeriodicBoxVectors(crystal.cell.array / 10 * unit.nanometer)


# %%
# The crystal is heated from 20 K to 1000 K in 4 ps. The reporter asks all four models every ten steps.
def heat(name, **options):
    """Deviation and bias along a run that gets hotter, as lists by column of deviation.csv."""
    potential = MLPotential(
        "nequip", committee=paths, moduleInputs=["atom-positions", "box"],
        lengthUnit="angstrom", energyUnit="eV", **options,
    )  # fmt: skip
    system = potential.createSystem(topology)
    integrator = openmm.LangevinMiddleIntegrator(20 * unit.kelvin, 5 / unit.picosecond, 4 * unit.femtosecond)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(topology, system, integrator, platform)
    simulation.context.setPositions(crystal.positions / 10)
    simulation.context.setVelocitiesToTemperature(20, 1)
    simulation.reporters.append(DeviationReporter(f"{name}.csv", 10))
    for step in range(100):
        integrator.setTemperature((20 + 9.8 * step) * unit.kelvin)
        simulation.step(10)
    with open(f"{name}.csv") as file:
        rows = list(csv.DictReader(file))
    return {column: [float(row[column]) for row in rows] for column in rows[0]}


free = heat("free")
held = heat("held", committeeBias=(0.05, 50.0))

# %%
# Where atoms come close the models part. With the bias, harmonic in the spread of the energy above 0.05 eV, the run
# stays nearer to where they agree; what it adds to the energy is in the table, so that averages can be corrected.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for run, label, colour in ((free, "mean alone", "#c0392b"), (held, "with the bias", "#0072b2")):
    left.plot(run["time_ps"], run["deviation_ev_per_angstrom"], color=colour, label=label)
    right.plot(run["time_ps"], run["energy_spread_ev"], color=colour, label=label)
right.plot(held["time_ps"], held["bias_ev"], color="gray", lw=1, label="bias")
right.axhline(0.05, color="black", lw=0.6, ls=":")
left.set(xlabel="time, ps (20 K to 1000 K)", ylabel="deviation, eV/Å")
right.set(xlabel="time, ps (20 K to 1000 K)", ylabel="spread of the energy, eV")
for axes in (left, right):
    axes.legend(fontsize=8)
plt.show()
print(f"largest deviation: {max(free['deviation_ev_per_angstrom']):.3f} eV/Å by the mean alone, "
      f"{max(held['deviation_ev_per_angstrom']):.3f} eV/Å with the bias")  # fmt: skip
