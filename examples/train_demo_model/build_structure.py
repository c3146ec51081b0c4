"""Write the PDB of alanine dipeptide: ideal heavy atoms, hydrogens from amber14, relaxed with GFN2-xTB.

Only needed once; the result is shipped as ``openmm_nequip/data/alanine-dipeptide.pdb``.
"""

import argparse
import io

import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from common import PDB, dihedral, gfn2, load_molecule
from openmm import Platform, app, unit

# (atom, residue), the three atoms it hangs on, bond length (A), angle (degrees), torsion (degrees).
# Both peptide bonds are trans; phi = -80 and psi = 75 start the relaxation in the C7eq basin; the torsion
# C-N-CA-CB = phi - 120 makes the residue L.
INTERNAL = [
    ("N ALA", "C ACE", "CH3 ACE", None, 1.335, 116.6, 0.0),
    ("CA ALA", "N ALA", "C ACE", "CH3 ACE", 1.449, 121.9, 180.0),
    ("O ACE", "C ACE", "N ALA", "CA ALA", 1.229, 122.9, 0.0),
    ("C ALA", "CA ALA", "N ALA", "C ACE", 1.522, 110.5, -80.0),
    ("CB ALA", "CA ALA", "N ALA", "C ACE", 1.526, 110.1, 160.0),
    ("N NME", "C ALA", "CA ALA", "N ALA", 1.335, 116.6, 75.0),
    ("C NME", "N NME", "C ALA", "CA ALA", 1.449, 121.9, 180.0),
    ("O ALA", "C ALA", "N NME", "C NME", 1.229, 122.9, 0.0),
]
ORDER = ["CH3 ACE", "C ACE", "O ACE", "N ALA", "CA ALA", "C ALA", "O ALA", "CB ALA", "N NME", "C NME"]


def place(a, b, c, length, angle, torsion):
    """Point at `length` (A) from a, with the angle b-a-new and the torsion c-b-a-new (degrees)."""
    angle, torsion = np.radians([angle, torsion])
    u = (a - b) / np.linalg.norm(a - b)
    n = np.cross(b - c, u)
    n /= np.linalg.norm(n)
    m = np.cross(n, u)
    return a + length * (-np.cos(angle) * u + np.sin(angle) * (np.cos(torsion) * m + np.sin(torsion) * n))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default=str(PDB))
    parser.add_argument("--fmax", type=float, default=0.002, help="force tolerance of the relaxation, eV/A")
    options = parser.parse_args()

    xyz = {"CH3 ACE": np.zeros(3), "C ACE": np.array([1.522, 0.0, 0.0])}
    for name, a, b, c, length, angle, torsion in INTERNAL:
        xyz[name] = place(xyz[a], xyz[b], np.array([0.0, 1.0, 0.0]) if c is None else xyz[c], length, angle, torsion)

    topology = app.Topology()
    chain, residues = topology.addChain(), {}
    for key in ORDER:
        name, residue = key.split()
        if residue not in residues:
            residues[residue] = topology.addResidue(residue, chain)
        topology.addAtom(name, app.Element.getBySymbol(name[0]), residues[residue])
    topology.createStandardBonds()
    modeller = app.Modeller(topology, np.array([xyz[key] for key in ORDER]) * unit.angstrom)
    modeller.addHydrogens(app.ForceField("amber14-all.xml"), platform=Platform.getPlatform("Reference"))

    symbols = [atom.element.symbol for atom in modeller.topology.atoms()]
    atoms = Atoms(symbols, np.array(modeller.positions.value_in_unit(unit.angstrom)), calculator=gfn2())
    BFGS(atoms, logfile=None).run(fmax=options.fmax, steps=500)
    atoms.positions -= atoms.positions.mean(axis=0)
    text = io.StringIO()
    app.PDBFile.writeFile(modeller.topology, atoms.positions * unit.angstrom, text)
    # The caps are standard residues of the force field and of OpenMM's bond table: no HETATM, no CONECT needed.
    lines = [line.replace("HETATM", "ATOM  ") for line in text.getvalue().splitlines() if line[:6] != "CONECT"]
    lines[0] = "REMARK   1 ALANINE DIPEPTIDE (ACE-ALA-NME), C7EQ, RELAXED WITH GFN2-XTB IN VACUUM"
    with open(options.output, "w") as handle:
        handle.write("\n".join(lines) + "\n")

    topology, atoms, torsions = load_molecule(options.output)
    index = {atom.name: atom.index for atom in topology.atoms() if atom.residue.name == "ALA"}
    n, c, cb = (atoms.positions[index[k]] - atoms.positions[index["CA"]] for k in ("N", "C", "CB"))
    if np.dot(np.cross(n, c), cb) <= 0:
        raise SystemExit("the residue is not L-alanine")
    app.ForceField("amber14-all.xml").createSystem(topology)  # raises if a name or a bond is wrong
    phi, psi = (dihedral(atoms.positions, t) for t in torsions)
    print(f"{options.output}: {len(atoms)} atoms, L, phi {phi:.1f}, psi {psi:.1f} degrees")


if __name__ == "__main__":
    main()
