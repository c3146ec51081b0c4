"""Harmonic biases on a distance, an angle or a torsion: the windows of umbrella sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import openmm

from ...units import NM_PER_ANGSTROM

#: Name of the forces in a System.
BIAS_NAME = "NequIPBias"
#: Number of atoms by kind.
KINDS = {"distance": 2, "angle": 3, "torsion": 4}
_EXPECTED = (
    'give "distance I J CENTRE K" (Å, kJ/mol/Å²), "angle I J L CENTRE K" or "torsion I J L M CENTRE K" (degrees, '
    "kJ/mol/rad²), with atoms counted from 0"
)


@dataclass(frozen=True)
class Bias:
    """K/2 (x - centre)² on one coordinate x; torsions by their shorter way round.

    Parameters
    ----------
    kind : str
        Of :data:`KINDS`.
    atoms : tuple of int
        Indices.
    centre : float
        nm, or radians.
    strength : float
        kJ/mol/nm² or kJ/mol/rad².
    """

    kind: str
    atoms: tuple[int, ...]
    centre: float
    strength: float

    @classmethod
    def parse(cls, text: str) -> Bias:
        """A bias as typed.

        Parameters
        ----------
        text : str
            Kind, atoms, centre and strength.

        Returns
        -------
        Bias

        Raises
        ------
        ValueError
            If it cannot be read.
        """
        words = text.split()
        count = KINDS.get(words[0] if words else "", 0)
        if not count or len(words) != count + 3:
            raise ValueError(f"bias {text!r} cannot be read: {_EXPECTED}")
        try:
            atoms = tuple(int(word) for word in words[1 : count + 1])
            centre, strength = (float(word) for word in words[count + 1 :])
        except ValueError:
            raise ValueError(f"bias {text!r} cannot be read: {_EXPECTED}") from None
        if min(atoms) < 0 or len(set(atoms)) != count:
            raise ValueError(f"bias {text!r}: its atoms must be {count} different numbers from 0 on")
        if not (math.isfinite(centre) and math.isfinite(strength) and strength > 0):
            raise ValueError(f"bias {text!r}: the centre must be finite and the strength above 0")
        if words[0] == "distance":
            if centre < 0:
                raise ValueError(f"bias {text!r}: a distance of {centre:g} Å is none; give one from 0 on")
            return cls("distance", atoms, centre * NM_PER_ANGSTROM, strength / NM_PER_ANGSTROM**2)
        return cls(words[0], atoms, math.radians(centre), strength)

    @property
    def is_periodic(self) -> bool:
        """Whether the coordinate comes back to itself."""
        return self.kind == "torsion"

    def energy(self, values: np.ndarray) -> np.ndarray:
        """Energies of the bias.

        Parameters
        ----------
        values : numpy.ndarray, (n,) float64
            The coordinate in nm or radians.

        Returns
        -------
        numpy.ndarray, (n,) float64
            kJ/mol.
        """
        off = values - self.centre
        if self.is_periodic:
            off = off - 2 * math.pi * (off / (2 * math.pi)).round()
        return 0.5 * self.strength * off**2

    def force(self, periodic: bool) -> openmm.Force:
        """The force of OpenMM.

        Parameters
        ----------
        periodic : bool
            Whether the nearest image counts.

        Returns
        -------
        openmm.Force
        """
        if self.kind == "distance":
            force = openmm.CustomBondForce("0.5*strength*(r-centre)^2")
            add, per = force.addBond, force.addPerBondParameter
        elif self.kind == "angle":
            force = openmm.CustomAngleForce("0.5*strength*(theta-centre)^2")
            add, per = force.addAngle, force.addPerAngleParameter
        else:
            force = openmm.CustomTorsionForce(
                f"0.5*strength*off^2; off=min(d, {2 * math.pi!r}-d); d=abs(theta-centre)"
            )
            add, per = force.addTorsion, force.addPerTorsionParameter
        per("centre")
        per("strength")
        centre = self.centre
        if self.is_periodic:  # theta lies between -pi and pi
            centre -= 2 * math.pi * round(centre / (2 * math.pi))
        add(*self.atoms, [centre, self.strength])
        force.setUsesPeriodicBoundaryConditions(periodic)
        force.setName(BIAS_NAME)
        return force


def add_biases(system: openmm.System, texts: tuple[str, ...] | None, periodic: bool) -> None:
    """Add the biases of a run, and remove those that are there already.

    Parameters
    ----------
    system : openmm.System
        Changed in place.
    texts : tuple of str or None
        As typed.
    periodic : bool
        Whether the System has a box.

    Raises
    ------
    ValueError
        If a bias cannot be read or names an atom that is not there.
    """
    for index in reversed(range(system.getNumForces())):
        if system.getForce(index).getName() == BIAS_NAME:
            system.removeForce(index)
    for text in texts or ():
        bias = Bias.parse(text)
        if max(bias.atoms) >= system.getNumParticles():
            raise ValueError(
                f"bias {text!r} names atom {max(bias.atoms)}, and there are {system.getNumParticles()} (0 to "
                f"{system.getNumParticles() - 1})"
            )
        system.addForce(bias.force(periodic))
