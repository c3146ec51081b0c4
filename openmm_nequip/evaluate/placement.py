"""Which particles a model sees: atoms, link caps and regions, as index arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np


def _indices(values=()) -> np.ndarray:
    return np.asarray(values, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Placement:
    """How the particles that a force is given become the nodes of a model's graph.

    Nodes are the real atoms in the order of :attr:`atoms`, then the link caps. All indices are local: 0 is the first
    particle that the force acts on.

    Parameters
    ----------
    n_particles : int
        Number of particles that the force is given.
    types : numpy.ndarray, (n_nodes,) int64
        Model type of each node.
    atoms : numpy.ndarray, (n_atoms,) int64, optional
        Particle of each real atom; all particles in order by default.
    cap_q, cap_m : numpy.ndarray, (n_caps,) int64, optional
        For each link cap the particle it is bonded to (Q1) and the particle it stands for (M1).
    cap_distances : numpy.ndarray, (n_caps,) float64, optional
        Distance of each cap from its Q1 in nm.
    regions : tuple of numpy.ndarray of int64, optional
        Nodes of each region; nodes of different regions do not see each other. One region by default.
    charged : numpy.ndarray, (n_charges,) int64, optional
        Particles of the force field that the model feels as charges.
    charges : numpy.ndarray, (n_charges,) float64, optional
        Their charges in e.
    own_charges : numpy.ndarray, (n_nodes,) float64, optional
        Charges in e of the nodes themselves, for models that take them; caps have none.
    """

    n_particles: int
    types: np.ndarray
    atoms: np.ndarray | None = None
    cap_q: np.ndarray = field(default_factory=_indices)
    cap_m: np.ndarray = field(default_factory=_indices)
    cap_distances: np.ndarray = field(default_factory=lambda: np.zeros(0))
    regions: tuple[np.ndarray, ...] = ()
    charged: np.ndarray = field(default_factory=_indices)
    charges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    own_charges: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read what release 0.1 pickled, which knew no charges."""
        none = {"charged": _indices(), "charges": np.zeros(0), "own_charges": np.zeros(0)}
        self.__dict__.update(none | state)

    def on_system(self, particles: np.ndarray, n_system: int) -> Placement:
        """The same nodes for a force that is given all particles of a System.

        Parameters
        ----------
        particles : numpy.ndarray, (n_particles,) int64
            System index of each particle of this layout.
        n_system : int
            Number of particles of the System.

        Returns
        -------
        Placement
        """
        return replace(
            self,
            n_particles=n_system,
            atoms=particles if self.atoms is None else particles[self.atoms],
            cap_q=particles[self.cap_q],
            cap_m=particles[self.cap_m],
            charged=particles[self.charged],
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for files: whole numbers, floats and lists of them."""
        around = {"charged": self.charged.tolist(), "charges": self.charges.tolist()} if len(self.charged) else {}
        around |= {"own_charges": self.own_charges.tolist()} if len(self.own_charges) else {}
        return around | {  # earlier releases know no charges, and read the rest
            "n_particles": int(self.n_particles),
            "types": self.types.tolist(),
            "atoms": None if self.atoms is None else self.atoms.tolist(),
            "cap_q": self.cap_q.tolist(),
            "cap_m": self.cap_m.tolist(),
            "cap_distances": self.cap_distances.tolist(),
            "regions": [region.tolist() for region in self.regions],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Placement:
        """What :meth:`as_dict` gave."""
        return cls(
            n_particles=data["n_particles"],
            types=_indices(data["types"]),
            atoms=None if data["atoms"] is None else _indices(data["atoms"]),
            cap_q=_indices(data["cap_q"]),
            cap_m=_indices(data["cap_m"]),
            cap_distances=np.asarray(data["cap_distances"], dtype=np.float64),
            regions=tuple(_indices(region) for region in data["regions"]),
            charged=_indices(data.get("charged", ())),
            charges=np.asarray(data.get("charges", ()), dtype=np.float64),
            own_charges=np.asarray(data.get("own_charges", ()), dtype=np.float64),
        )

    @property
    def n_caps(self) -> int:
        """Number of link caps."""
        return len(self.cap_q)

    @property
    def is_plain(self) -> bool:
        """True if the nodes are just the particles: no selection, caps or separate regions."""
        return self.atoms is None and self.n_caps == 0 and len(self.regions) < 2 and not len(self.charged)
