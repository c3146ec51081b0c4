"""
A System read in another process
================================

A System is saved as XML and read elsewhere, without running code that the file brings along. Are the forces the same?
"""

# %%
# Saved with the model inside, so that the file stands alone.
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.app as app
import openmm.unit as unit
from openmmml import MLPotential

data = files("openmm_nequip") / "data"
structure = str(data / "alanine-dipeptide.pdb")
pdb = app.PDBFile(structure)
potential = MLPotential("nequip", modelPath=str(data / "alanine-dipeptide.nequip.zip"))
system = potential.createSystem(pdb.topology, embedModel=True)
folder = Path(tempfile.mkdtemp())
with open(folder / "system.xml", "w") as file:
    file.write(openmm.XmlSerializer.serialize(system))

# %%
# Another Python reads it with :func:`openmm_nequip.read_system`.
reader = """
import sys, numpy as np, openmm, openmm.app as app, openmm.unit as unit, openmm_nequip
system = openmm_nequip.read_system(sys.argv[1])
integrator = openmm.VerletIntegrator(0.001)
context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
context.setPositions(app.PDBFile(sys.argv[2]).positions)
forces = context.getState(forces=True).getForces(asNumpy=True)
np.save(sys.argv[3], forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer))
"""
files = [str(folder / "system.xml"), structure, str(folder / "forces.npy")]
subprocess.run([sys.executable, "-c", reader, *files], check=True)
there = np.load(folder / "forces.npy")

# %%
# And here:
integrator = openmm.VerletIntegrator(0.001)
context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
context.setPositions(pdb.positions)
here = context.getState(forces=True).getForces(asNumpy=True)
here = here.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
print(f"largest difference: {np.abs(here - there).max():.1e} kJ/mol/nm")

figure, axes = plt.subplots(figsize=(3.8, 3.6), layout="constrained")
axes.axline((0, 0), slope=1, color="gray", lw=0.8)
axes.plot(here.ravel(), there.ravel(), ".", color="#0072b2")
axes.set(xlabel="force here, kJ/mol/nm", ylabel="force in the other process, kJ/mol/nm", aspect="equal")
plt.show()
