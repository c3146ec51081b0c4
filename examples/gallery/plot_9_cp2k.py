"""
A CP2K input
============

What stands in ``&NEQUIP`` and ``&MD`` of a CP2K input runs as it is. Every entry is told: taken, replaced by its
counterpart, or left out and why; what is not done is refused with file and line.
"""

# %%
# An input as CP2K takes it: the peptide of the shipped model, with stochastic velocity rescaling.
import tempfile
from importlib.resources import files
from pathlib import Path

import ase.io
import matplotlib.pyplot as plt
import numpy as np
import openmm.unit as unit

from openmm_nequip.inputs import make_simulation, read_cp2k

data = files("openmm_nequip") / "data"
atoms = ase.io.read(str(data / "alanine-dipeptide.pdb"))
atoms.positions += 10 - atoms.positions.mean(axis=0)
folder = Path(tempfile.mkdtemp())
ase.io.write(folder / "peptide.xyz", atoms, format="xyz")
text = f"""&GLOBAL
  PROJECT peptide
  RUN_TYPE MD
&END GLOBAL
&MOTION
  &MD
    ENSEMBLE NVT
    STEPS 2000
    TIMESTEP 0.5
    TEMPERATURE 300
    &THERMOSTAT
      TYPE CSVR
      &CSVR
        TIMECON 50
      &END CSVR
    &END THERMOSTAT
  &END MD
&END MOTION
&FORCE_EVAL
  METHOD FIST
  &MM
    &FORCEFIELD
      &NONBONDED
        &NEQUIP
          MODEL_TYPE NEQUIP
          ATOMS H C N O
          POT_FILE_NAME {data / "alanine-dipeptide.nequip.zip"}
          UNIT_LENGTH angstrom
          UNIT_ENERGY eV
          UNIT_FORCES eV*angstrom^-1
        &END NEQUIP
      &END NONBONDED
    &END FORCEFIELD
    &POISSON
      &EWALD
        EWALD_TYPE none
      &END EWALD
    &END POISSON
  &END MM
  &SUBSYS
    &CELL
      ABC 20.0 20.0 20.0
    &END CELL
    &TOPOLOGY
      COORD_FILE_FORMAT XYZ
      COORD_FILE_NAME ./peptide.xyz
    &END TOPOLOGY
  &END SUBSYS
&END FORCE_EVAL
"""
with open(folder / "peptide.inp", "w") as file:
    file.write(text)

# %%
# What becomes of it. ``openmm-nequip run --cp2k peptide.inp`` would run it from here.
translation = read_cp2k(str(folder / "peptide.inp"))
report = translation.report().replace(str(folder), ".").replace(str(data), "data")
print(report.replace(str(Path.cwd()), "."))

# %%
# As an OpenMM ``Simulation``, at the start of the dynamics.
settings = translation.all_settings() | {
    "output": str(folder / "run"),
    "seed": 1,
    "platform": "Reference",
}
simulation = make_simulation(settings)
times, temperatures = [], []
freedom = 3 * len(atoms) - 3
for _ in range(200):
    simulation.step(10)
    state = simulation.context.getState(energy=True)
    times.append(state.getTime().value_in_unit(unit.femtosecond))
    kinetic = state.getKineticEnergy() / (0.5 * freedom * unit.MOLAR_GAS_CONSTANT_R)
    temperatures.append(kinetic.value_in_unit(unit.kelvin))

# %%
# So few atoms have a wide distribution of temperatures, of which the line is the mean.
width = 300 * np.sqrt(2 / freedom)
later = temperatures[40:]
print(
    f"{np.mean(later):.0f} K, fluctuates by {np.std(later):.0f} K; canonical: 300 K, {width:.0f} K"
)
figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.plot(times, temperatures, color="#0072b2", lw=1)
axes.axhline(300, color="#d55e00", ls="--", label="TEMPERATURE 300")
axes.axhspan(
    300 - width, 300 + width, color="#d55e00", alpha=0.15, lw=0, label="canonical fluctuation"
)
axes.set(xlabel="time, fs", ylabel="temperature, K")
axes.legend(frameon=False, loc="upper right")
plt.show()
