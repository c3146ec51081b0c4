"""NequIP models with random weights, made in memory."""

import numpy as np
import torch

from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

CUTOFF = 4.0


def make_model(types=("H", "C", "O"), noise=0.0, zbl=False, **options):
    """A NequIP GraphModel in evaluation mode; ``noise`` is added to all weights.

    ``options`` are those of nequip's NequIPGNNModel.
    """
    with preserved_global_state():
        from nequip.model import NequIPGNNModel
        from nequip.utils.global_state import set_global_state

        set_global_state()
        if zbl:
            options["pair_potential"] = {
                "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": list(types),
            }  # fmt: skip
        defaults = {
            "seed": 7, "model_dtype": "float64", "r_max": CUTOFF, "num_layers": 3, "l_max": 1, "parity": False,
            "num_features": 8, "radial_mlp_depth": 1, "radial_mlp_width": 16, "avg_num_neighbors": 12.0,
            "per_type_energy_scales": {name: 1.0 + 0.3 * i for i, name in enumerate(types)},
            "per_type_energy_shifts": {name: -1.5 * i for i, name in enumerate(types)},
        }  # fmt: skip
        model = NequIPGNNModel(type_names=list(types), **(defaults | options)).eval()
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
            parameter += noise * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
    return model


def structure(n_atoms=24, n_types=3, side=6.5, periodic=True, seed=0, closest=0.9):
    """Random positions (Å) with a least distance, random types, and the cell."""
    rng = np.random.default_rng(seed)
    cell = np.array([[side, 0, 0], [0.3 * side, 0.9 * side, 0], [-0.2 * side, 0.25 * side, 1.05 * side]])
    positions = []
    while len(positions) < n_atoms:
        trial = rng.uniform(0, 1, 3) @ cell
        if all(np.linalg.norm(trial - other) > closest for other in positions):
            positions.append(trial)
    return np.array(positions), rng.integers(0, n_types, n_atoms), cell if periodic else np.eye(3) * 100.0


def eager(model, positions, types, edges, shifts, cell):
    """nequip's own evaluation: atomic energies, forces and virial as float64 arrays."""
    data = {
        "pos": torch.tensor(positions), "atom_types": torch.tensor(types), "edge_index": torch.tensor(edges),
        "edge_cell_shift": torch.tensor(shifts), "cell": torch.tensor(cell).view(1, 3, 3),
    }  # fmt: skip
    with default_dtype(torch.float64):
        out = model(data)
    names = ("atomic_energy", "forces", "virial")
    energies, forces, virial = (out[name].detach().double().numpy() for name in names)
    return energies.ravel(), forces, virial.reshape(3, 3)


def make_allegro(types=("H", "C", "O"), noise=0.0, zbl=False, splines=None, bessel=None, **options):
    """An Allegro GraphModel in evaluation mode; ``noise`` is added to all weights.

    ``splines`` or ``bessel`` are options of its radial-chemical embedding, ``options`` those of AllegroModel.
    """
    with preserved_global_state():
        from allegro.model import AllegroModel
        from nequip.utils.global_state import set_global_state

        set_global_state()
        embedding = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4} | (bessel or {})
        if splines is not None:
            embedding = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 6, "spline_span": 4}
            embedding |= splines
        if zbl:
            options["pair_potential"] = {
                "_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": list(types),
            }  # fmt: skip
        defaults = {
            "seed": 7, "model_dtype": "float64", "r_max": CUTOFF, "num_layers": 2, "l_max": 1, "parity": False,
            "num_scalar_features": 12, "num_tensor_features": 8, "avg_num_neighbors": 12.0,
            "allegro_mlp_hidden_layers_width": 10, "scalar_embed_mlp_hidden_layers_width": 14,
            "readout_mlp_hidden_layers_width": 6, "radial_chemical_embed": embedding, "radial_chemical_embed_dim": 8,
            "per_type_energy_scales": {name: 1.0 + 0.3 * i for i, name in enumerate(types)},
            "per_type_energy_shifts": {name: -1.5 * i for i, name in enumerate(types)},
        }  # fmt: skip
        model = AllegroModel(type_names=list(types), **(defaults | options)).eval()
        generator = torch.Generator().manual_seed(3)
        for parameter in model.parameters():
            parameter.requires_grad_(False)
            parameter += noise * torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
    return model
