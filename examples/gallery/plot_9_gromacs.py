"""
A GROMACS set-up
================

A folder with ``nnpot-`` lines in its ``.mdp`` runs as it is. Here the model is what it replaces, Lennard-Jones, so that
nothing may change: do all atoms feel the same forces as without it?
"""

# %%
# A module as GROMACS' NNPot takes it: nm and kJ/mol, each pair once, ``x[first] - x[second] + shift``.
import tempfile
import warnings
from pathlib import Path

import ase.build
import matplotlib.pyplot as plt
import numpy as np
import openmm
import openmm.unit as unit
import torch

from openmm_nequip.inputs import (
    make_force_field,
    make_mixed_system,
    make_simulation,
    read_gromacs,
)


class Argon(torch.nn.Module):
    def forward(
        self, positions: torch.Tensor, pairs: torch.Tensor, shifts: torch.Tensor
    ) -> torch.Tensor:
        vectors = positions[pairs[:, 0].long()] - positions[pairs[:, 1].long()] + shifts
        s6 = (0.3405 / torch.linalg.vector_norm(vectors, dim=1)) ** 6
        return (4 * 0.996 * (s6 * s6 - s6)).sum()


folder = Path(tempfile.mkdtemp())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch calls scripting deprecated
    torch.jit.script(Argon()).save(str(folder / "argon.pt"))

# %%
# The four files of a set-up: 108 atoms, of which the model has the 13 in the middle.
(folder / "md.mdp").write_text(f"""
integrator = md
dt = 0.002
nsteps = 1000
nstxout-compressed = 100
coulombtype = cut-off
rcoulomb = 1.0
rvdw = 1.0
vdw-modifier = none
tcoupl = v-rescale
tc-grps = System
tau-t = 0.2
ref-t = 94.4
gen-vel = yes
gen-temp = 94.4
nnpot-active = yes
nnpot-modelfile = {folder / "argon.pt"}
nnpot-input-group = Model
nnpot-model-input1 = atom-positions
nnpot-model-input2 = atom-pairs
nnpot-model-input3 = pair-shifts
nnpot-pair-cutoff = 1.0
""")
(folder / "topol.top").write_text("""
[ defaults ]
1 2 yes 1.0 1.0
[ atomtypes ]
Ar 18 39.948 0.0 A 0.3405 0.996
[ moleculetype ]
AR 1
[ atoms ]
1 Ar 1 AR Ar 1 0.0 39.948
[ system ]
argon
[ molecules ]
AR 108
""")
atoms = ase.build.bulk("Ar", cubic=True, a=6.8) * (3, 3, 3)
atoms.rattle(0.3, seed=1)
rows = [
    f"{i:5d}AR   {'Ar':>5s}{i:5d}{x:8.3f}{y:8.3f}{z:8.3f}"
    for i, (x, y, z) in enumerate(0.1 * atoms.positions, 1)
]
edge = f"{0.1 * atoms.cell[0, 0]:10.5f}" * 3
(folder / "conf.gro").write_text("\n".join(["argon", "108", *rows, edge, ""]))
distances = np.linalg.norm(atoms.positions - 0.5 * atoms.cell.lengths(), axis=1)
region = np.isin(np.arange(108), np.argsort(distances)[:13])
numbers = " ".join(map(str, np.flatnonzero(region) + 1))
everyone = " ".join(map(str, range(1, 109)))
(folder / "index.ndx").write_text(f"[ System ]\n{everyone}\n[ Model ]\n{numbers}\n")
paths = [str(folder / name) for name in ("md.mdp", "conf.gro", "topol.top", "index.ndx")]

# %%
# What becomes of each line.
translation = read_gromacs(*paths)
settings = translation.all_settings() | {
    "output": str(folder / "run"),
    "seed": 1,
    "platform": "Reference",
}
print(translation.report().replace(str(folder), "."))


# %%
# The force field with the model in it, and without.
def forces(system, positions):
    """Forces (n, 3) in kJ/mol/nm."""
    integrator = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
    context.setPositions(positions)
    found = context.getState(forces=True).getForces(asNumpy=True)
    return found.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)


warnings.simplefilter("ignore")  # of 13 molecules in one region, which is meant so
topology, field, positions = make_force_field(settings)
mixed = make_mixed_system(settings)
without, with_model = forces(field, positions), forces(mixed.system, positions)
print(repr(mixed.report))
print(
    f"largest difference {np.abs(without - with_model).max():.1e} of {np.abs(without).max():.0f} kJ/mol/nm"
)

# %%
# And the run that the ``.mdp`` asks for, with its thermostat.
simulation = make_simulation(settings)
times, temperatures = [], []
for _ in range(100):
    simulation.step(10)
    state = simulation.context.getState(energy=True)
    times.append(state.getTime().value_in_unit(unit.picosecond))
    kinetic = state.getKineticEnergy() / (0.5 * 321 * unit.MOLAR_GAS_CONSTANT_R)
    temperatures.append(kinetic.value_in_unit(unit.kelvin))
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.2), layout="constrained")
left.axline((0, 0), slope=1, color="gray", lw=0.8)
left.plot(
    without[~region].ravel(),
    with_model[~region].ravel(),
    ".",
    color="#0072b2",
    label="force field's atoms",
)
left.plot(
    without[region].ravel(),
    with_model[region].ravel(),
    "x",
    ms=4,
    color="#d55e00",
    label="model's atoms",
)
left.set(xlabel="force without the model, kJ/mol/nm", ylabel="with it, kJ/mol/nm")
left.legend(frameon=False, loc="upper left")
right.plot(times, temperatures, color="#0072b2", lw=1)
right.axhline(94.4, color="#d55e00", ls="--", label="ref-t = 94.4")
right.set(xlabel="time, ps", ylabel="temperature, K")
right.legend(frameon=False)
plt.show()
