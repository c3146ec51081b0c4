"""A bias that keeps a simulation where a committee agrees: flat, then harmonic in the spread of its energy.

With the energies E_k of M models and s their standard deviation (1/M),

    B = K/2 (s - S)^2 where s > S, else 0,        -dB/dr = sum_k w_k F_k,  w_k = K (1 - S/s) (E_k - <E>)/M,

so the gradient is exact and needs each model's energy and forces, nothing more. It is regular everywhere: where s is
zero the bias is, and its weights w_k, which add up to zero, go to zero with s even for S = 0. Spread and bias are those
of the whole energy of the atoms that the committee describes: for independent errors s grows with the root of their
number, for common ones with their number, and so must S.

References
----------
C. Schran, K. Brezina, O. Marsalek, Committee neural network potentials control generalization errors and enable active
learning, J. Chem. Phys. 153, 104105 (2020), https://doi.org/10.1063/5.0016004; in this form CP2K has it
(FORCE_EVAL/NNP/BIAS: SIGMA_0 and K_B). With the opposite sign, towards what is not known, biases on the same quantity
find frames worth a label: M. Kulichenko et al., Uncertainty-driven dynamics for active learning of interatomic
potentials, Nat. Comput. Sci. 3, 230 (2023), https://doi.org/10.1038/s43588-023-00406-5; C. van der Oord et al.,
Hyperactive learning for data-driven interatomic potentials, npj Comput. Mater. 9, 168 (2023),
https://doi.org/10.1038/s41524-023-01104-6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .units import KJ_PER_MOL_PER_EV

if TYPE_CHECKING:  # commands read settings without numpy
    import numpy as np


@dataclass(frozen=True)
class CommitteeBias:
    """Where the bias begins and how stiff it is.

    Parameters
    ----------
    above : float
        Spread of the energy up to which nothing is added, kJ/mol.
    strength : float
        Force constant on what is beyond, 1/(kJ/mol).
    """

    above: float
    strength: float

    def per(self, energy: float) -> CommitteeBias:
        """The same in a unit of energy of ``energy`` kJ/mol, in which :meth:`acting` then takes and gives energies."""
        return CommitteeBias(self.above / energy, self.strength * energy)

    def acting(self, energies: np.ndarray) -> tuple[float, np.ndarray] | None:
        """What it adds, if it does.

        Parameters
        ----------
        energies : numpy.ndarray, (n_models,) float64
            Of each model, kJ/mol; from any common zero.

        Returns
        -------
        energy : float
            kJ/mol.
        weights : numpy.ndarray, (n_models,) float64
            Of each model's forces, and of its virial, in what is added to those of the mean. Their sum is zero.

        None where the models agree well enough: nothing is to be added then, not even zero.
        """
        excess = energies - energies[0]
        excess = excess - excess.mean()
        spread = math.sqrt(float((excess * excess).mean()))
        if not spread > self.above:  # nor where an energy is not finite, which others complain about
            return None
        beyond = spread - self.above
        return 0.5 * self.strength * beyond**2, self.strength * (beyond / spread) * excess / len(excess)


def parse_bias(given: Any, name: str = "committeeBias") -> CommitteeBias | None:
    """A bias from what a user gives.

    Parameters
    ----------
    given : sequence of two, optional
        Spread of the energy up to which nothing is added, and force constant beyond: eV and 1/eV if plain numbers, as
        the spread stands in ``deviation.csv``; quantities of OpenMM otherwise.
    name : str
        Of the keyword.

    Returns
    -------
    CommitteeBias or None

    Raises
    ------
    ValueError
        If it is no such pair, the spread is negative, or the constant not positive, or one is not finite.
    """
    import openmm.unit as unit

    if given is None:
        return None
    wanted = (
        f"{name}={given!r}: give two numbers, the spread of the energy (eV) up to which nothing is added, 0 or more, "
        "and the force constant (1/eV) beyond it, more than 0"
    )
    try:
        above, strength = given
    except (TypeError, ValueError):
        raise ValueError(wanted) from None
    energy = unit.kilojoule_per_mole
    found = CommitteeBias(
        _number(above, energy, KJ_PER_MOL_PER_EV), _number(strength, energy**-1, 1.0 / KJ_PER_MOL_PER_EV)
    )
    if not (0.0 <= found.above < math.inf and 0.0 < found.strength < math.inf):
        raise ValueError(wanted)
    return found


def _number(value: Any, wanted: Any, plain: float) -> float:
    """A number in the unit wanted, not a number for what is none; ``plain``: the factor of plain numbers."""
    import openmm.unit as unit

    try:
        if unit.is_quantity(value):
            return float(value.value_in_unit(wanted))
        no_number = isinstance(value, (bool, str, bytes)) or str(getattr(value, "dtype", "")) == "bool"
        return float("nan") if no_number else float(value) * plain
    except (TypeError, ValueError):
        return float("nan")
