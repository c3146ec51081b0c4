"""
Before a long run: check
========================

Is the model safe on this system, with this time step, and what will the run cost? :func:`openmm_nequip.check` looks for
a minute before a week is spent. ``openmm-nequip check`` and ``run --check`` do the same from the command line.
"""

# %%
# The shipped model and its peptide: every line is ok.
from importlib.resources import files

import ase.io
import matplotlib.pyplot as plt

import openmm_nequip

data = files("openmm_nequip") / "data"
model, peptide = str(data / "alanine-dipeptide.nequip.zip"), str(data / "alanine-dipeptide.pdb")
report = openmm_nequip.check(model, peptide, platform="Reference", timestep=0.5)
print(report)

# %%
# Short runs without a thermostat tell which time steps conserve the energy. What a step of 4 fs does is no longer on
# the picture: it breaks down.
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for step, run in report.facts["nve"].items():
    axes.plot(run["time_fs"], run["energy_kj_per_mol"], label=f"{step} fs ({run['part']:.1%})")
axes.set(xlabel="time, fs", ylabel="total energy - start, kJ/mol")
axes.legend(title="time step (scatter)", fontsize=8, ncols=2)
plt.show()
print("largest time step that conserves it:", report.facts["largest_time_step_fs"], "fs")

# %%
# Now with faults, one at a time: another unit, a hydrogen too few, two types exchanged, positions in another unit.
atoms = ase.io.read(peptide)
lacking, scaled = atoms.copy(), atoms.copy()
del lacking[7]
scaled.positions /= 0.529177
for name, changed in (("lacking", lacking), ("bohr", scaled)):
    ase.io.write(f"{name}.extxyz", changed)
exchanged = {"C": "N", "N": "C"}
types = [exchanged.get(symbol, symbol) for symbol in atoms.get_chemical_symbols()]
faults = {
    "kcal/mol taken for eV": dict(structure=peptide, units=("angstrom", "kcal/mol")),
    "a hydrogen is missing": dict(structure="lacking.extxyz"),
    "types C and N exchanged": dict(structure=peptide, types=types),
    "positions in bohr": dict(structure="bohr.extxyz"),
    "a time step of 4 fs": dict(structure=peptide, timestep=4.0, dynamics=True, platform="Reference"),
}
for name, settings in faults.items():
    found = openmm_nequip.check(model, **({"dynamics": False} | settings))
    worst = [verdict for verdict in found.verdicts if verdict.level == found.level]
    print(f"{name}: {found.level}\n    {worst[0].name}: {worst[0].text}")
