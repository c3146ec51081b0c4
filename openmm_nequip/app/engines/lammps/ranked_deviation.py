"""How far the models of a committee on ranks are from each other: the ranks find it, each for its own atoms."""

from __future__ import annotations

import numpy as np

from ....deviation import Deviation
from ....units import KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, KJ_PER_MOL_PER_EV
from .rank_processes import RankProcesses


class RankedDeviation:
    """Asks the models of a committee on ranks; called as a :class:`openmm_nequip.deviation.DeviationCalculator`.

    Parameters
    ----------
    ranks : RankProcesses
        Who have the models and the atoms.
    n_atoms : int
        How many.
    """

    def __init__(self, ranks: RankProcesses, n_atoms: int) -> None:
        self._ranks = ranks
        self.atoms = np.arange(n_atoms)

    def compute(self, positions: np.ndarray, box: np.ndarray | None = None) -> Deviation:
        """Ask, as :meth:`openmm_nequip.deviation.DeviationCalculator.compute` does.

        Parameters
        ----------
        positions, box
            Those that the ranks have, who are not told them again: of the present State of the simulation.

        Returns
        -------
        Deviation

        Raises
        ------
        RankError
            If a rank has failed.
        """
        forces, facts = self._ranks.deviation()
        return Deviation(
            forces * KJ_PER_MOL_NM_PER_EV_PER_ANGSTROM, self.atoms, facts["energy"] * KJ_PER_MOL_PER_EV,
            facts["atomic_energy"] * KJ_PER_MOL_PER_EV, facts["bias"] * KJ_PER_MOL_PER_EV,
        )  # fmt: skip
