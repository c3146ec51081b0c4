"""A crystal in OpenMM's frame, with what leads back to the user's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import openmm.app as app
import openmm.unit as unit

from ..trajectory_loading import load_frames
from ..units import BAR_PER_KJ_PER_MOL_PER_NM3, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from .lattice import check_cell

if TYPE_CHECKING:
    from ase import Atoms


def _plain(value: Any, of: unit.Unit) -> np.ndarray:
    """A Quantity in the given unit, or a plain array taken to be in it, as float64."""
    value = value.value_in_unit(of) if unit.is_quantity(value) else value
    return np.array(value, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Crystal:
    """A crystal as OpenMM wants it, and what leads back to the frame it was given in.

    Made by :func:`fromAse` and :func:`readCrystal`. There are no bonds: OpenMM's barostats then scale every atom by
    itself, which is what a crystal needs.

    Parameters
    ----------
    topology : openmm.app.Topology
        One atom a residue, in the order of the given atoms, with the reduced box.
    positions : openmm.unit.Quantity, (n_atoms, 3) float64
        nm, in OpenMM's frame; every atom at the image at which it was given.
    box : openmm.unit.Quantity, (3, 3) float64
        nm, rows are the box vectors in reduced form.
    rotation : numpy.ndarray, (3, 3) float64
        ``r_openmm = rotation @ r_user``, proper.
    integers : numpy.ndarray, (3, 3) int64
        The user's lattice vectors, rotated, are ``integers @ box``.
    atoms : ase.Atoms
        The given atoms (the supercell, if one was made), without calculator.
    """

    topology: app.Topology
    positions: unit.Quantity
    box: unit.Quantity
    rotation: np.ndarray
    integers: np.ndarray
    atoms: Atoms

    def vectorsToUser(self, vectors: Any) -> Any:
        """Turn vectors (positions, velocities, forces) into the user's frame.

        Parameters
        ----------
        vectors : array_like or Quantity, (..., 3)
            In OpenMM's frame, any unit.

        Returns
        -------
        numpy.ndarray or Quantity, (..., 3) float64
            In the unit given.
        """
        if unit.is_quantity(vectors):
            return self.vectorsToUser(vectors.value_in_unit(vectors.unit)) * vectors.unit
        return np.asarray(vectors, dtype=np.float64) @ self.rotation

    def tensorToUser(self, tensor: Any) -> Any:
        """Turn a tensor of second rank (stress, strain) into the user's frame.

        Parameters
        ----------
        tensor : array_like or Quantity, (3, 3)
            In OpenMM's frame, any unit.

        Returns
        -------
        numpy.ndarray or Quantity, (3, 3) float64
            In the unit given.
        """
        if unit.is_quantity(tensor):
            return self.tensorToUser(tensor.value_in_unit(tensor.unit)) * tensor.unit
        return self.rotation.T @ np.asarray(tensor, dtype=np.float64) @ self.rotation

    def cellToUser(self, box: Any = None, near: np.ndarray | None = None) -> np.ndarray:
        """The user's lattice vectors in a box of a simulation of this crystal.

        A flexible barostat may replace box vectors by others of the same lattice at any step. The combination that
        comes closest to ``near`` is taken, all volumes brought to one first.

        Parameters
        ----------
        box : array_like or Quantity, (3, 3), optional
            nm; the crystal's own box by default.
        near : numpy.ndarray, (3, 3) float64, optional
            The user's lattice vectors in Å a little earlier in the simulation; those at its start by default.

        Returns
        -------
        numpy.ndarray, (3, 3) float64
            Å, rows, in the user's frame.

        Raises
        ------
        ValueError
            If the box has no volume, or is so far from ``near`` that no combination is the nearest.
        """
        own = self.box.value_in_unit(unit.nanometer)
        start = self.integers @ own @ self.rotation / NM_PER_ANGSTROM
        if box is None:
            return start
        lattice = check_cell(_plain(box, unit.nanometer), "the box") @ self.rotation / NM_PER_ANGSTROM
        reference = start if near is None else np.asarray(near, dtype=np.float64)
        scale = np.cbrt(abs(np.linalg.det(lattice) / np.linalg.det(reference)))
        integers = np.rint(reference * scale @ np.linalg.inv(lattice))
        if round(np.linalg.det(integers)) != round(np.linalg.det(self.integers)):
            raise ValueError(
                f"the box {lattice.tolist()} Å is too far from the lattice {reference.tolist()} Å to say which of its "
                "vectors correspond; give near=, the user's lattice vectors in an earlier frame"
            )
        return integers @ lattice

    def toAse(
        self,
        positions: Any = None,
        box: Any = None,
        energy: Any = None,
        forces: Any = None,
        stress: Any = None,
        near: np.ndarray | None = None,
    ) -> Atoms:
        """A frame of a simulation as ASE's atoms, in the user's frame and with the user's lattice vectors.

        Parameters
        ----------
        positions : array_like or Quantity, (n_atoms, 3), optional
            nm, in OpenMM's frame; the crystal's own by default. Barostats move atoms to other images.
        box : array_like or Quantity, (3, 3), optional
            nm; the crystal's own by default.
        energy : float or Quantity, optional
            kJ/mol.
        forces : array_like or Quantity, (n_atoms, 3), optional
            kJ/mol/nm, in OpenMM's frame.
        stress : array_like or Quantity, (3, 3), optional
            bar, in OpenMM's frame, positive under tension (ASE's sign too).
        near : numpy.ndarray, (3, 3), optional
            As in :meth:`cellToUser`.

        Returns
        -------
        ase.Atoms
            Å; with a ``SinglePointCalculator`` (eV, eV/Å, eV/Å^3) if there is an energy, forces or a stress. Tags,
            masses and the rest are those of the given atoms.

        Raises
        ------
        ValueError
            If shapes do not fit, or as :meth:`cellToUser`.
        """
        place = _plain(self.positions if positions is None else positions, unit.nanometer)
        if place.shape != (len(self.atoms), 3):
            raise ValueError(f"positions have shape {place.shape}; expected {(len(self.atoms), 3)}")
        atoms = self.atoms.copy()
        atoms.set_cell(self.cellToUser(box, near), scale_atoms=False)
        atoms.positions = self.vectorsToUser(place) / NM_PER_ANGSTROM
        results: dict[str, Any] = {}
        if energy is not None:
            results["energy"] = float(_plain(energy, unit.kilojoule_per_mole)) / KJ_PER_MOL_PER_EV
        if forces is not None:
            turned = self.vectorsToUser(_plain(forces, unit.kilojoule_per_mole / unit.nanometer))
            results["forces"] = turned * NM_PER_ANGSTROM / KJ_PER_MOL_PER_EV
        if stress is not None:
            density = self.tensorToUser(_plain(stress, unit.bar)) / BAR_PER_KJ_PER_MOL_PER_NM3
            results["stress"] = (density * NM_PER_ANGSTROM**3 / KJ_PER_MOL_PER_EV).flat[[0, 4, 8, 5, 2, 1]]
        if results:
            from ase.calculators.singlepoint import SinglePointCalculator

            atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def trajectoryToUser(self, trajectory: Any) -> list[Atoms]:
        """A trajectory in the user's frame, with the user's lattice vectors followed from frame to frame.

        Parameters
        ----------
        trajectory : mdtraj.Trajectory, or str or path-like
            A simulation of this crystal, or a file of it that MDTraj reads (DCD, XTC, ...). Such files hold single
            precision.

        Returns
        -------
        list of ase.Atoms
            Å, one for each frame.

        Raises
        ------
        ValueError
            If the trajectory has another number of atoms or no box, is damaged, or as :meth:`cellToUser`.
        """
        if isinstance(trajectory, (str, os.PathLike)):
            import mdtraj

            trajectory = load_frames(trajectory, mdtraj.Topology.from_openmm(self.topology))
        if trajectory.unitcell_vectors is None:
            raise ValueError("the trajectory has no box; write it by a reporter of the periodic simulation")
        frames: list[Atoms] = []
        for place, box in zip(trajectory.xyz, trajectory.unitcell_vectors, strict=True):
            near = frames[-1].cell[:] if frames else None
            frames.append(self.toAse(place, box, near=near))
        return frames
