"""
Equation of state of a crystal
==============================

Energy against volume and the pressure of the stress tensor have to tell the same story.
``examples/crystal_equation_of_state`` is the long form, with dynamics;
this page takes its Lennard-Jones model of argon.
"""

# %%
# The model: Lennard-Jones, written in the format of a scripted NequIP model.
import tempfile
from pathlib import Path

import ase.build
import matplotlib.pyplot as plt
import numpy as np
import run as example
from ase.eos import EquationOfState
from openmmml import MLPotential

path = example.write_lennard_jones(Path(tempfile.mkdtemp()) / "lennard-jones.nequip.pth")
potential = MLPotential("nequip", modelPath=str(path))
cell = example.Cell(potential, ase.build.bulk("Ar", cubic=True), relax=False)

# %%
# Eleven volumes, lengths within 3 %, and a Birch-Murnaghan curve through the energies.
scales = np.cbrt(np.linspace(0.97**3, 1.03**3, 11))
volumes, energies, pressures = np.array([cell.at(scale) for scale in scales]).T
volume, energy, bulk = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
print(f"a = {(4 * volume) ** (1 / 3):.4f} Å, bulk modulus {bulk * 160.21766:.3f} GPa")

# %%
# The pressure vanishes where the energy is lowest.
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
left.plot(volumes, 1000 * energies, "o", color="#0072b2")
left.axvline(volume, color="gray", ls=":")
left.set(xlabel="volume, Å$^3$/atom", ylabel="energy, meV/atom")
right.plot(volumes, pressures, "s", color="#d55e00")
right.axvline(volume, color="gray", ls=":")
right.axhline(0, color="gray", lw=0.8)
right.set(xlabel="volume, Å$^3$/atom", ylabel="pressure, GPa")
plt.show()
