"""What the scripts share: the molecule and the reference method. For a molecule of your own, change this file first."""

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from openmm import app, unit
from tblite.ase import TBLite

STRUCTURE = "molecule.pdb"
#: Two torsions to look at, as indices of atoms: of alanine dipeptide phi and psi. Only the picture uses them.
TORSIONS = {"φ": (4, 6, 8, 10), "ψ": (6, 8, 10, 16)}


def load_molecule():
    """The molecule as an OpenMM topology and as ASE atoms, in the same order of atoms."""
    pdb = app.PDBFile(STRUCTURE)
    symbols = [atom.element.symbol for atom in pdb.topology.atoms()]
    return pdb.topology, Atoms(symbols, np.array(pdb.getPositions(asNumpy=True).value_in_unit(unit.angstrom)))


def reference():
    """The method whose energies (eV) and forces (eV/angstrom) the model learns: any ASE calculator."""
    return TBLite(method="GFN2-xTB", verbosity=0)


def labelled(atoms, number):
    """Copy of `atoms` with the energy (eV) and forces (eV/angstrom) of its calculator, and its number in its run."""
    forces, energy = atoms.get_forces(), atoms.get_potential_energy()
    # Not periodic. The cell only gives nequip-compile, which takes its example from these frames, a volume: with the
    # target `ase` it compares stresses too, which are nan without one.
    frame = Atoms(atoms.get_chemical_symbols(), atoms.get_positions(), cell=[30.0, 30.0, 30.0], pbc=False)
    frame.info["frame"] = number
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces.copy())
    return frame
