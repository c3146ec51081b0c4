"""What the scripts of this folder share: the molecule, its two torsions, and GFN2-xTB."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from openmm import app, unit
from tblite.ase import TBLite

PDB = Path(__file__).resolve().parents[2] / "openmm_nequip" / "data" / "alanine-dipeptide.pdb"


def load_molecule(path=PDB):
    """Read the dipeptide.

    Parameters
    ----------
    path : path-like
        PDB file with the residues ACE, ALA and NME and all hydrogens.

    Returns
    -------
    topology : openmm.app.Topology
    atoms : ase.Atoms
        Same atom order as the topology, positions in angstrom, no cell.
    torsions : numpy.ndarray
        Atom indices of phi and psi, shape (2, 4).
    """
    pdb = app.PDBFile(str(path))
    symbols = [atom.element.symbol for atom in pdb.topology.atoms()]
    positions = np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
    index = {(atom.residue.name, atom.name): atom.index for atom in pdb.topology.atoms()}
    backbone = [index[key] for key in (("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N"))]
    return pdb.topology, Atoms(symbols, positions), np.array([backbone[:4], backbone[1:]])


def dihedral(positions, quadruple):
    """Torsion angle in degrees, -180 to 180, for positions of shape (..., atoms, 3)."""
    p = np.asarray(positions)[..., list(quadruple), :]
    first, axis, last = p[..., 0, :] - p[..., 1, :], p[..., 2, :] - p[..., 1, :], p[..., 3, :] - p[..., 2, :]
    axis = axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    v = first - np.sum(first * axis, -1, keepdims=True) * axis
    w = last - np.sum(last * axis, -1, keepdims=True) * axis
    return np.degrees(np.arctan2(np.sum(np.cross(axis, v) * w, -1), np.sum(v * w, -1)))


def gfn2():
    """A fresh GFN2-xTB calculator (energies in eV, forces in eV/angstrom)."""
    return TBLite(method="GFN2-xTB", verbosity=0)


def labelled(atoms, source):
    """Copy of `atoms` that carries its present energy (eV) and forces (eV/angstrom).

    Parameters
    ----------
    atoms : ase.Atoms
        With a calculator attached.
    source : str
        Where the geometry comes from; written as `config_type` to the extxyz.
    """
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    # Not periodic. The cell only gives nequip-compile, which takes its example from the training data and checks the
    # stress too, a volume to divide by; without it that check fails with a stress of nan.
    frame = Atoms(atoms.get_chemical_symbols(), atoms.get_positions(), cell=[30.0, 30.0, 30.0], pbc=False)
    frame.info["config_type"] = source
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces.copy())
    return frame
