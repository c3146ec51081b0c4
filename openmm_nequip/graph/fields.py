"""nequip's names of what goes into a model and comes out: the only file that writes them.

References
----------
``nequip/data/_keys.py``.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of functions as types.

import torch

from .graph import Outputs

POSITIONS = "pos"
TYPES = "atom_types"
EDGE_INDEX = "edge_index"
SHIFTS = "edge_cell_shift"
CELL = "cell"
EDGE_VECTORS = "edge_vectors"
TOTAL_ENERGY = "total_energy"
ATOMIC_ENERGY = "atomic_energy"
FORCES = "forces"
VIRIAL = "virial"
STRESS = "stress"
EDGE_FORCES = "edge_forces"
#: One structure, without a batch index, in the order in which files are compiled for OpenMM.
INPUT_FIELDS = (POSITIONS, EDGE_INDEX, TYPES, CELL, SHIFTS)
#: What nequip's models take as the structure, in all versions; everything else they take is an input of their own.
STRUCTURE_FIELDS = frozenset({
    *INPUT_FIELDS, EDGE_VECTORS, "edge_transpose_perm", "edge_lengths", "edge_type", "atomic_numbers", "species", "pbc",
    "batch", "ptr", "num_atoms", "num_nodes", "num_frames", "lmp_mliap_data", "num_local_ghost_atoms", "r_max",
})  # fmt: skip
#: Inputs with a value for each atom or edge, or with several components: no one number gives them.
LARGER_INPUTS = frozenset({
    "atomic_energy", "born_effective_charges", "charges", "dielectric_tensor", "dipole", "edge_attrs", "edge_cutoff",
    "edge_embedding", "edge_energy", "edge_features", "edge_forces", "feature_norm_factor", "forces", "magmoms",
    "node_attrs", "node_features", "normed_edge_lengths", "polarization", "stress", "stresses", "virial",
})  # fmt: skip
#: Inputs that nequip holds as whole numbers whatever reads them.
WHOLE_INPUTS = frozenset({"charge", "spin", "dataset"})


def model_inputs(
    positions: torch.Tensor,
    types: torch.Tensor,
    edge_index: torch.Tensor,
    shifts: torch.Tensor,
    cell: torch.Tensor,
) -> dict[str, torch.Tensor]:
    """A structure as nequip's modules take it; scriptable.

    Parameters
    ----------
    positions : torch.Tensor, (n_atoms, 3)
        Positions in model lengths.
    types : torch.Tensor, (n_atoms,) int64
        Type indices.
    edge_index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour of each edge.
    shifts : torch.Tensor, (n_edges, 3)
        Whole numbers of cell vectors.
    cell : torch.Tensor, (3, 3)
        Rows are the cell vectors.

    Returns
    -------
    dict of str to torch.Tensor
    """
    # TorchScript knows no constants of a module, hence the names once more.
    return {
        "pos": positions,
        "atom_types": types,
        "edge_index": edge_index,
        "edge_cell_shift": shifts,
        "cell": cell.view(1, 3, 3),
    }


def vector_inputs(
    positions: torch.Tensor, types: torch.Tensor, edge_index: torch.Tensor, vectors: torch.Tensor
) -> dict[str, torch.Tensor]:
    """A structure as nequip's modules take it where they are given edge vectors; scriptable.

    Parameters
    ----------
    positions, types, edge_index
        As of :func:`model_inputs`.
    vectors : torch.Tensor, (n_edges, 3)
        ``r_ij`` of each edge in model lengths.

    Returns
    -------
    dict of str to torch.Tensor
    """
    return {"pos": positions, "edge_vectors": vectors, "atom_types": types, "edge_index": edge_index}


def open_inputs(positions: torch.Tensor, types: torch.Tensor, edge_index: torch.Tensor) -> dict[str, torch.Tensor]:
    """A structure without periodicity, or whose images are atoms of their own, as nequip's modules take it; scriptable.

    Parameters
    ----------
    positions : torch.Tensor, (n_atoms, 3)
        Positions in model lengths.
    types : torch.Tensor, (n_atoms,) int64
        Type indices.
    edge_index : torch.Tensor, (2, n_edges) int64
        Centre and neighbour of each edge.

    Returns
    -------
    dict of str to torch.Tensor
    """
    return {"pos": positions, "atom_types": types, "edge_index": edge_index}


def structure_in(
    data: dict[str, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """The parts of a structure as nequip's modules take it; scriptable.

    Parameters
    ----------
    data : dict of str to torch.Tensor
        As :func:`model_inputs` or :func:`open_inputs` makes it; positions (n_atoms, 3).

    Returns
    -------
    tuple of torch.Tensor or None
        Positions, types, edge_index, shifts and cell; None for the last two where there are none.
    """
    shifts: torch.Tensor | None = None
    cell: torch.Tensor | None = None
    if "edge_cell_shift" in data and "cell" in data:
        shifts, cell = data["edge_cell_shift"], data["cell"]
    return data["pos"], data["atom_types"], data["edge_index"], shifts, cell


def with_inputs(data: dict[str, torch.Tensor], given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A structure with values of a model's inputs beside it; scriptable.

    Parameters
    ----------
    data : dict of str to torch.Tensor
        As :func:`model_inputs` makes it.
    given : dict of str to torch.Tensor, (1, 1)
        Values by name, on any device.

    Returns
    -------
    dict of str to torch.Tensor
        The same object, filled up.
    """
    for name, value in given.items():
        data[name] = value.to(data["pos"].device)
    return data


def collect_outputs(
    total: torch.Tensor | None,
    forces: torch.Tensor,
    atomic: torch.Tensor | None = None,
    virial: torch.Tensor | None = None,
) -> Outputs:
    """Bring nequip's output fields into the shapes and dtype of :class:`~openmm_nequip.graph.graph.Outputs`.

    Parameters
    ----------
    total : torch.Tensor, (1, 1), optional
        Total energy; the sum of the atomic energies where a file gives these alone.
    forces : torch.Tensor, (n_atoms, 3)
        Forces.
    atomic : torch.Tensor, (n_atoms, 1), optional
        Atomic energies.
    virial : torch.Tensor, (1, 3, 3), optional
        Virial.

    Returns
    -------
    Outputs
        float64, detached.
    """
    atomic_energies = None if atomic is None else atomic.detach().reshape(-1).to(torch.float64)
    # A file compiled for LAMMPS gives atomic energies alone.
    energy = atomic_energies.sum() if total is None else total.detach().to(torch.float64)  # type: ignore[union-attr]
    return Outputs(
        energy.reshape(()),
        forces.detach().to(torch.float64),
        atomic_energies,
        None if virial is None else virial.detach().reshape(3, 3).to(torch.float64),
    )
