"""Which bonded terms the model replaces: three rules.

========================  =====================  ===============================  =============================
term                      ``"openmm-ml"``        ``"gromacs"``                    ``"all-in-set"``
========================  =====================  ===============================  =============================
pair (bond, special 1-4)  both in Q              both in Q                        both in Q
angle, Urey-Bradley       middle in Q, ends in   at least two of three in Q       all in Q
                          Q or bonded to Q
torsion                   both middle atoms in   at least three of four in Q      all in Q
                          Q; the centre of an
                          improper in Q
CMAP                      three inner atoms in   at least four of five in Q       all in Q
                          Q, ends in Q or
                          bonded to Q
any other                 all in Q               all in Q but one                 all in Q
========================  =====================  ===============================  =============================

Q are the atoms of one region.  A Urey-Bradley term goes with its angle (openmm-ml takes it for a bond, and judges
compound bonds by their first two particles; here all particles of a term count).  Terms are never removed for being
spread over two regions.  GROMACS has no rule for terms over five atoms; the one given continues its pattern.

References
----------
openmm-ml 1.8, mechanical embedding; GROMACS 2026, neural network potentials (the rules of its QM/MM interface).
"""

from collections.abc import Callable

from .connectivity import Connectivity
from .regions import Region


class BondedRule:
    """One rule applied to one region.

    Parameters
    ----------
    name : str
        One of :data:`openmm_nequip.choices.RULES`.
    region : Region
        The region.
    bonds : Connectivity
        The bond graph.
    """

    def __init__(self, name: str, region: Region, bonds: Connectivity) -> None:
        self._bonds = bonds
        self._inside = set(region.particles)
        self._reached = self._inside.union(*(bonds.neighbours[i] for i in region.atoms))
        judges: dict[str, Callable[[tuple[int, ...]], bool]] = {
            "openmm-ml": self._openmm_ml,
            "gromacs": self._gromacs,
            "all-in-set": self._all_inside,
        }
        self._judge = judges[name]

    def replaces(self, atoms: tuple[int, ...]) -> bool:
        """Tell whether the model replaces a term.

        Parameters
        ----------
        atoms : tuple of int
            The particles of the term in the order of the force.

        Returns
        -------
        bool
            True if the term is to be removed.
        """
        if self._reached.isdisjoint(atoms):
            return False
        if len(atoms) == 2:
            i, j = atoms
            if self._bonds.bonded(i, j):
                return self._all_inside(atoms)
            # Urey-Bradley terms follow their angle, of which only the middle need be in the region; in a
            # four-membered ring both angles must go.
            centres = self._bonds.centres(i, j)
            if centres:
                return all(self._judge((i, centre, j)) for centre in centres)
        return self._judge(atoms)

    def _all_inside(self, atoms: tuple[int, ...]) -> bool:
        return self._inside.issuperset(atoms)

    def _gromacs(self, atoms: tuple[int, ...]) -> bool:
        distinct = set(atoms)
        return len(distinct & self._inside) >= max(len(distinct) - 1, min(len(distinct), 2))

    def _openmm_ml(self, atoms: tuple[int, ...]) -> bool:
        if len(atoms) == 3 and self._star_centre(atoms) == atoms[1]:
            return atoms[1] in self._inside and self._reached.issuperset(atoms)
        if len(atoms) == 4:
            return self._openmm_ml_torsion(atoms)
        if len(atoms) == 8:
            middle = set(atoms[1:3] + atoms[5:7])
            return middle <= self._inside and self._reached.issuperset(atoms)
        return self._all_inside(atoms)

    def _openmm_ml_torsion(self, atoms: tuple[int, ...]) -> bool:
        if all(self._bonds.bonded(i, j) for i, j in zip(atoms[:-1], atoms[1:], strict=True)):
            return atoms[1] in self._inside and atoms[2] in self._inside
        centre = self._star_centre(atoms)
        return self._all_inside(atoms) if centre is None else centre in self._inside

    def _star_centre(self, atoms: tuple[int, ...]) -> int | None:
        """Return the first particle that is bonded to all others."""
        for centre in (atoms[1], *atoms) if len(atoms) == 3 else atoms:
            if all(centre == other or self._bonds.bonded(centre, other) for other in atoms):
                return centre
        return None
