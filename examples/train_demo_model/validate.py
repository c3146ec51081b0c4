"""Measure a packaged model against GFN2-xTB: test errors, conformers, MD, energy conservation."""

import argparse
import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context

import ase.io
import matplotlib
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.constraints import FixInternals
from ase.optimize import BFGS
from common import PDB, dihedral, gfn2, load_molecule
from md import EV, Potential, compile_model, langevin, nve
from tqdm import tqdm

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# Where the relaxations start: phi and psi in degrees. The GFN2-xTB minimum reached from there is the conformer, but
# in vacuum GFN2-xTB has no minimum at aR (it relaxes to C7eq), so there both angles are held.
CONFORMERS = {"C7eq": (-82, 74), "C5": (-155, 160), "C7ax": (70, -50), "aR": (-75, -35), "aL": (60, 35)}
HELD = ("aR",)


class Model(Calculator):
    """A Potential as an ASE calculator."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, potential):
        super().__init__()
        self.potential = potential

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["energy"], self.results["forces"] = self.potential(np.ascontiguousarray(atoms.positions))


def errors(potential, frames):
    """Energy (eV) and force (eV/A) errors of labelled frames, and the energies (eV) of both."""
    energies, forces = [], []
    for frame in tqdm(frames, desc="errors", mininterval=10):
        energy, force = potential(np.ascontiguousarray(frame.positions))
        energies.append((energy, frame.get_potential_energy()))
        forces.append(force - frame.get_forces())
    energies = np.array(energies)
    return energies[:, 0] - energies[:, 1], np.array(forces), energies


def test_numbers(potential, frames):
    """Errors on the test frames, all and by origin."""
    energy, force, energies = errors(potential, frames)
    origin = np.array([frame.info["config_type"] for frame in frames])
    numbers = {
        "test_frames": len(frames),
        "test_force_mae_mev_per_angstrom": 1e3 * np.abs(force).mean(),
        "test_force_rmse_mev_per_angstrom": 1e3 * np.sqrt((force**2).mean()),
        "test_energy_mae_mev_per_atom": 1e3 * np.abs(energy).mean() / force.shape[1],
        "test_energy_rmse_mev_per_atom": 1e3 * np.sqrt((energy**2).mean()) / force.shape[1],
        "test_force_mae_by_origin_mev_per_angstrom": {
            str(name): 1e3 * np.abs(force[origin == name]).mean() for name in np.unique(origin)
        },
    }
    return numbers, energies


def rotated(molecule, topology, torsions, angles):
    """Copy of the molecule with phi and psi set to `angles` (degrees)."""
    atoms = molecule.copy()
    neighbours = {atom.index: set() for atom in topology.atoms()}
    for bond in topology.bonds():
        neighbours[bond[0].index].add(bond[1].index)
        neighbours[bond[1].index].add(bond[0].index)
    for quadruple, angle in zip(torsions, angles, strict=True):
        # everything on the far side of the central bond turns
        side, todo = {int(quadruple[1])}, [int(quadruple[2])]
        while todo:
            k = todo.pop()
            if k not in side:
                side.add(k)
                todo.extend(neighbours[k])
        side.discard(int(quadruple[1]))
        atoms.set_dihedral(*(int(i) for i in quadruple), angle, indices=sorted(side))
    return atoms


def conformers(potential, topology, molecule, torsions):
    """Relative energies (kJ/mol) of the conformers, each method relaxed on its own surface."""
    result = {}
    for name, angles in CONFORMERS.items():
        atoms, entry = rotated(molecule, topology, torsions, angles), {"phi_psi_held": name in HELD}
        if name in HELD:
            fixed = [[float(angle), q.tolist()] for angle, q in zip(angles, torsions, strict=True)]
            atoms.set_constraint(FixInternals(dihedrals_deg=fixed))
        # the model starts from the GFN2-xTB minimum
        for method, calculator in (("gfn2", gfn2()), ("model", Model(potential))):
            if method == "model":
                entry["model_at_gfn2_geometry"] = potential(np.ascontiguousarray(atoms.positions))[0]
            atoms.calc = calculator
            entry[f"{method}_converged"] = bool(BFGS(atoms, logfile=None).run(fmax=0.005, steps=1000))
            entry[method] = atoms.get_potential_energy()
            entry[f"{method}_phi_psi_degrees"] = [float(dihedral(atoms.positions, q)) for q in torsions]
        result[name] = entry
    for method in ("gfn2", "model", "model_at_gfn2_geometry"):
        zero = result["C7eq"][method]
        for entry in result.values():
            entry[f"{method}_kj_per_mol"] = 1e-3 * round(1e3 * (entry.pop(method) - zero) * EV)
    return result


def basin(phi, psi):
    """Name of the region of the torsion map."""
    if 0 < phi < 140:
        return "C7ax" if -130 < psi < 0 else "aL" if 0 <= psi < 100 else "other"
    if psi > 115 or psi < -140:
        return "C5_or_PII"
    return "C7eq" if psi > 20 else "aR"


def trajectory(pdb, compiled, picoseconds, seed):
    """Langevin run at 300 K, from the PDB's geometry, in a process of its own."""
    torch.set_num_threads(1)
    topology, molecule, _ = load_molecule(pdb)
    potential = Potential(compiled, molecule.get_chemical_symbols())
    return langevin(topology, potential, molecule.get_positions(), picoseconds, seed, label=f"seed {seed}")


def conservation(pdb, compiled, picoseconds, seed):
    """Drift of the total energy (kJ/mol/ns/atom), its standard error, and the energy's standard deviation (kJ/mol)."""
    torch.set_num_threads(1)
    topology, molecule, _ = load_molecule(pdb)
    potential = Potential(compiled, molecule.get_chemical_symbols())
    start, _ = langevin(topology, potential, molecule.get_positions(), 1.0, seed, label="before NVE")
    total = nve(topology, potential, start[-1], picoseconds, seed)
    nanoseconds = 5e-5 * np.arange(len(total))
    fit, covariance = np.polyfit(nanoseconds, total / len(molecule), 1, cov=True)
    return fit[0], np.sqrt(covariance[0, 0]), total.std()


def md_numbers(topology, torsions, symbols, potential, seed, run, picoseconds, every):
    """What a trajectory tells: bonds, temperature, basins, and its energies and forces relabelled with GFN2-xTB."""
    frames, temperatures = run
    bonds = np.array([(bond[0].index, bond[1].index) for bond in topology.bonds()])
    hydrogen = np.array([symbols[i] == "H" or symbols[j] == "H" for i, j in bonds])
    lengths = np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=2)
    xh, heavy = lengths[:, hydrogen], lengths[:, ~hydrogen]
    angles = np.stack([dihedral(frames, quadruple) for quadruple in torsions], axis=1)
    names = np.array([basin(*pair) for pair in angles])
    energies, forces, labels = [], [], []
    for k in tqdm(range(every - 1, len(frames), every), desc="relabel", mininterval=10):
        reference = Atoms(symbols, frames[k], calculator=gfn2())
        energy, force = potential(np.ascontiguousarray(frames[k]))
        energies.append((energy, reference.get_potential_energy()))
        forces.append(np.abs(force - reference.get_forces()).mean())
        labels.append(names[k])
    energies, labels = np.array(energies), np.array(labels)
    error = 1e3 * (energies[:, 0] - energies[:, 1])
    good = (xh > 0.85).all(1) & (xh < 1.35).all(1) & (heavy > 1.0).all(1) & (heavy < 1.85).all(1)
    intact = len(good) if good.all() else int(np.argmin(good))  # frames before the first broken bond
    numbers = {
        "seed": seed,
        "length_ps": len(frames) * 0.05,
        "intact": intact == round(picoseconds * 20),
        "intact_ps": intact * 0.05,
        "x_h_bonds_angstrom": [xh.min(), xh.max()],
        "heavy_bonds_angstrom": [heavy.min(), heavy.max()],
        "mean_temperature_k": temperatures[len(temperatures) // 10 :].mean(),
        "basin_fractions": {str(name): float((names == name).mean()) for name in np.unique(names)},
        "relabelled_frames": len(error),
        "relabelled_energy_error_mean_mev": error.mean(),
        "relabelled_energy_error_std_mev": error.std(),
        "relabelled_force_mae_mev_per_angstrom": 1e3 * np.mean(forces),
        "relabelled_energy_error_mean_by_basin_mev": {
            str(name): float(error[labels == name].mean()) for name in np.unique(labels)
        },
    }
    return numbers, angles, energies, error


def picture(path, angles, test, own):
    """Torsion maps of the trajectories and energies of the model against GFN2-xTB."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6))
    for seed, values in angles.items():
        left.plot(values[::2, 0], values[::2, 1], ".", markersize=2, label=f"seed {seed}")
    left.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="phi (degrees)", ylabel="psi (degrees)", title="300 K, model")
    left.legend(markerscale=4)
    zero = min(test[:, 1].min(), own[:, 1].min())
    for values, label in ((test, "test frames"), (own, "frames of its own MD")):
        right.plot(values[:, 1] - zero, values[:, 0] - zero, ".", markersize=3, label=label)
    limits = [0, test[:, 1].max() - zero]
    right.plot(limits, limits, "k-", linewidth=0.6)
    right.set(xlabel="GFN2-xTB energy (eV)", ylabel="model energy (eV)", title="energies")
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def rounded(value):
    """Numbers of a nested structure to five digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, (float, np.floating)) else value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the .nequip.zip file")
    parser.add_argument("--test", default="test.xyz")
    parser.add_argument("--output", default="validation", help="name of the .json and .png files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--picoseconds", type=float, default=100.0, help="length of each 300 K run")
    parser.add_argument("--nve-picoseconds", type=float, default=25.0)
    parser.add_argument("--relabel-every", type=float, default=0.5, help="ps between relabelled frames")
    parser.add_argument("--jobs", type=int, default=1, help="MD runs at the same time")
    parser.add_argument("--pdb", default=str(PDB))
    options = parser.parse_args()

    torch.set_num_threads(1)
    topology, molecule, torsions = load_molecule(options.pdb)
    symbols = molecule.get_chemical_symbols()
    with open(options.model, "rb") as handle:
        content = handle.read()
    packages = ("nequip", "e3nn", "torch", "openmm", "tblite", "ase")
    report = {
        "date": date.today().isoformat(),
        "sha256": hashlib.sha256(content).hexdigest(),
        "file_size_bytes": len(content),
        "reference_method": "GFN2-xTB",
        "versions": {name: version(name) for name in packages},
    }

    compiled = options.output + ".nequip.pt2"
    compile_model(options.model, compiled)
    eager, potential = Potential(options.model, symbols), Potential(compiled, symbols)
    report["parameters"] = sum(p.numel() for p in eager.model.parameters())

    frames = ase.io.read(options.test, ":")
    numbers, test_energies = test_numbers(eager, frames)
    report.update(numbers)
    pairs = [(eager(frame.positions), potential(frame.positions)) for frame in frames[:50]]
    report["compiled_minus_eager_max_energy_ev"] = max(abs(a[0] - b[0]) for a, b in pairs)
    report["compiled_minus_eager_max_force_ev_per_angstrom"] = float(max(np.abs(a[1] - b[1]).max() for a, b in pairs))
    report["conformers"] = conformers(potential, topology, molecule, torsions)
    differences = [abs(entry["model_kj_per_mol"] - entry["gfn2_kj_per_mol"]) for entry in report["conformers"].values()]
    report["conformer_max_error_kj_per_mol"] = max(differences)
    print(json.dumps(rounded(report), indent=1), flush=True)

    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        tasks = [pool.submit(trajectory, options.pdb, compiled, options.picoseconds, seed) for seed in options.seeds]
        last = pool.submit(conservation, options.pdb, compiled, options.nve_picoseconds, options.seeds[0])
        runs, drift = [task.result() for task in tasks], last.result()
    report["trajectories"], angles, own, own_error = [], {}, [], []
    for seed, run in zip(options.seeds, runs, strict=True):
        arguments = (topology, torsions, symbols, potential, seed, run, options.picoseconds)
        numbers, angles[seed], energies, error = md_numbers(*arguments, round(options.relabel_every * 20))
        report["trajectories"].append(numbers)
        own.append(energies)
        own_error.append(error)
    report["md_intact_ps_by_seed"] = {str(run["seed"]): run["intact_ps"] for run in report["trajectories"]}
    own_error = np.concatenate(own_error)
    report["own_trajectory_energy_error_mean_mev"] = own_error.mean()
    report["own_trajectory_energy_error_std_mev"] = own_error.std()
    print(json.dumps(rounded(report["trajectories"]), indent=1), flush=True)

    report["nve_picoseconds"] = options.nve_picoseconds
    report["nve_drift_kj_per_mol_per_ns_per_atom"] = drift[0]
    report["nve_drift_standard_error_kj_per_mol_per_ns_per_atom"] = drift[1]
    report["nve_energy_std_kj_per_mol"] = drift[2]

    with open(options.output + ".json", "w") as handle:
        json.dump(rounded(report), handle, indent=1)
        handle.write("\n")
    picture(options.output + ".png", angles, test_energies, np.concatenate(own))
    os.remove(compiled)
    print(json.dumps(rounded({key: report[key] for key in report if key.startswith(("nve", "own", "md"))}), indent=1))


if __name__ == "__main__":
    main()
