"""Step 8, before and after: errors of both models against GFN2-xTB, computed through OpenMM, and a picture."""

import argparse
import json

import ase.io
import matplotlib
import numpy as np
import openmm
import torch
from ase import units
from common import TORSIONS, load_molecule
from openmm import unit
from openmmml import MLPotential

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

EV = units.kJ / units.mol  # 1 kJ/mol in eV
MODELS = {"first": "first.nequip.zip", "tuned": "tuned.nequip.zip"}
COLORS = {"first": "tab:red", "tuned": "tab:blue"}
SETS = ("vacuum", "production")
ENERGY, FORCES = "energy_mae_mev_per_atom", "forces_mae_mev_per_angstrom"


class Model:
    """A model file on the molecule in vacuum, in OpenMM."""

    def __init__(self, path):
        topology, _ = load_molecule()
        # Some hundred energies are not worth the compilation of a package.
        system = MLPotential("nequip", modelPath=path).createSystem(topology, compile=False)
        platform = openmm.Platform.getPlatform("Reference")
        self.context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)

    def errors(self, frames):
        """Energy errors (frames,) in meV/atom and force errors (frames, atoms, 3) in meV/angstrom."""
        energies, forces = [], []
        for frame in frames:
            self.context.setPositions(frame.positions * unit.angstrom)
            state = self.context.getState(energy=True, forces=True)
            found = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) * EV
            energies.append((found - frame.get_potential_energy()) / len(frame))
            found = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.angstrom) * EV
            forces.append(found - frame.get_forces())
        return 1e3 * np.array(energies), 1e3 * np.array(forces)


def torsions(frames):
    """The two torsions of every frame in degrees, -180 to 180, shape (2, frames)."""
    angles = [[frame.get_dihedral(*quadruple) for frame in frames] for quadruple in TORSIONS.values()]
    return (np.array(angles) + 180.0) % 360.0 - 180.0


def picture(path, run, held_out, along, table):
    """Where the run went, the energy error along it, and the errors on the test sets."""
    figure, ((where, when), bars) = plt.subplots(2, 2, figsize=(10, 8), layout="constrained")
    where.plot(*torsions(ase.io.read("train.xyz", ":")), ".", color="0.6", label="first training set")
    where.plot(*torsions(run), ".", color="black", markersize=4, label="production run")
    first, second = (f"{name} (°)" for name in TORSIONS)
    where.set(xlim=(-180, 180), ylim=(-180, 180), xlabel=first, ylabel=second, title="where the run went")
    where.legend()

    numbers = np.array([frame.info["frame"] for frame in run])
    for name, errors in along.items():
        when.plot(numbers, errors, ".", markersize=4, color=COLORS[name], label=f"{name} model")
    when.axvspan(held_out[0].info["frame"], held_out[-1].info["frame"], color="0.9", label="test frames")
    when.axhline(0, color="black", linewidth=0.6)
    when.set(xlabel="frame of the run", ylabel="meV/atom", title="energy, model − reference")
    when.margins(y=0.2)  # room for the legend
    when.legend(loc="lower left", ncols=3, fontsize="small")

    titles = {FORCES: "forces (meV/Å)", ENERGY: "energy (meV/atom)"}
    for panel, (quantity, title) in zip(bars, titles.items(), strict=True):
        for i, name in enumerate(MODELS):
            heights = [table[name][frames][quantity] for frames in SETS]
            places = panel.bar(np.arange(len(SETS)) + 0.4 * i - 0.2, heights, 0.38, color=COLORS[name], label=name)
            panel.bar_label(places, fmt="%.1f")
        panel.set_xticks(range(len(SETS)), [f"{frames} test frames" for frames in SETS])
        panel.set_title(f"mean absolute error, {title}")
        panel.margins(y=0.2)
        panel.legend(loc="upper left")
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="run", help="folder of the production run")
    parser.add_argument("--output", default="errors", help="name of the .json and .png files")
    options = parser.parse_args()
    torch.set_num_threads(1)  # fastest for so small a model

    parts = {part: ase.io.read(f"{options.run}_{part}.xyz", ":") for part in ("train", "val", "test")}
    run = [frame for frames in parts.values() for frame in frames]
    sets = dict(zip(SETS, (ase.io.read("test.xyz", ":"), parts["test"]), strict=True))
    table, along = {}, {}
    print(f"{'model':8}{'test frames':14}{'forces, meV/Å':>16}{'energy, meV/atom':>20}")
    for name, path in MODELS.items():
        model = Model(path)
        table[name] = {}
        for frames in SETS:
            energies, forces = model.errors(sets[frames])
            table[name][frames] = {ENERGY: float(np.abs(energies).mean()), FORCES: float(np.abs(forces).mean())}
            numbers = table[name][frames]
            print(f"{name:8}{frames:14}{numbers[FORCES]:16.1f}{numbers[ENERGY]:20.2f}")
        along[name] = model.errors(run)[0]
    with open(f"{options.output}.json", "w") as file:
        json.dump(table, file, indent=1)
        file.write("\n")
    picture(f"{options.output}.png", run, parts["test"], along, table)


if __name__ == "__main__":
    main()
