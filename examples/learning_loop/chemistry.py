"""The molecule, its reference energies, and first frames: with the functions by which the shipped model was made."""

import gzip
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from openmm import app, unit

TRAINING = Path(__file__).resolve().parents[1] / "train_demo_model"
sys.path.insert(0, str(TRAINING))
from common import PDB, dihedral, gfn2, labelled, load_molecule  # noqa: E402
from sample import restrained_simulation  # noqa: E402

__all__ = ["PDB", "dihedral", "held_out", "label", "load_molecule", "narrow", "start_of_run"]


def label(positions, source):
    """Frames with GFN2-xTB energies (eV) and forces (eV/Å); those without an SCF solution are left out.

    Parameters
    ----------
    positions : iterable of numpy.ndarray
        (atoms, 3), Å.
    source : str
        Where they come from.

    Returns
    -------
    list of ase.Atoms
    """
    symbols = load_molecule()[1].get_chemical_symbols()
    frames = []
    for place in positions:
        try:
            frames.append(labelled(Atoms(symbols, place, calculator=gfn2()), source))
        except Exception as error:  # an exploded geometry; the others are still wanted
            print(f"left out: {error}")
    return frames


def narrow(count, seed):
    """Labelled frames near the first conformer, from force-field dynamics at 300 K: first data as they often are.

    Parameters
    ----------
    count : int
        Frames, half a picosecond apart.
    seed : int
        Of the dynamics.

    Returns
    -------
    list of ase.Atoms
    """
    topology, atoms, torsions = load_molecule()
    simulation, _ = restrained_simulation(topology, atoms.get_positions(), torsions, seed)
    positions = []
    for _ in range(count):
        simulation.step(1000)
        positions.append(_place(simulation))
    return label(positions, "first")


def start_of_run(path, seed):
    """Write a start for a run: force-field dynamics under restraints that draw both torsions anywhere.

    Parameters
    ----------
    path : path-like
        PDB file.
    seed : int
        Of the dynamics and of the torsions.
    """
    topology, atoms, torsions = load_molecule()
    simulation, restraint = restrained_simulation(topology, atoms.get_positions(), torsions, seed)
    random = np.random.default_rng(seed)
    for k, quadruple in enumerate(torsions):
        restraint.setTorsionParameters(k, *(int(i) for i in quadruple), [100.0, float(random.uniform(-np.pi, np.pi))])
    restraint.updateParametersInContext(simulation.context)
    simulation.step(2000)
    with open(path, "w") as file:
        app.PDBFile.writeFile(topology, _place(simulation) * unit.angstrom, file)


def held_out(every):
    """The test set of the shipped model, every so many-th frame: the whole torsion map, 300 K to 900 K."""
    with gzip.open(TRAINING / "test.xyz.gz", "rt") as file:
        return ase.io.read(file, "::" + str(every), format="extxyz")


def _place(simulation):
    """Positions in Å."""
    state = simulation.context.getState(positions=True)
    return np.array(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
