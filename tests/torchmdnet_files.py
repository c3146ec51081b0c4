"""Tiny TorchMD-Net checkpoints with random weights, as its training writes them, and its own answers to them."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import torch

KJ_PER_MOL_PER_EV = 96.48533212331002
BASE = dict(
    model="tensornet", precision=32, embedding_dimension=8, num_layers=1, num_rbf=8, rbf_type="expnorm",
    trainable_rbf=False, activation="silu", cutoff_lower=0.0, cutoff_upper=4.5, max_z=20, max_num_neighbors=64,
    aggr="add", neighbor_embedding=True, attn_activation="silu", num_heads=4, distance_influence="both",
    derivative=True, atom_filter=-1, prior_model=None, prior_args=None, output_model="Scalar", reduce_op="add",
    equivariance_invariance_group="O(3)", box_vecs=None, static_shapes=False, vector_cutoff=True,
    remove_ref_energy=False, q_dim=4,
)  # fmt: skip
SCALES = {"distance_scale": 1e-10, "energy_scale": 1.602176634e-19}
NUMBERS = list(range(20))
GRAPH = {"model": "graph-network", "rbf_type": "gauss"}
#: Changes of :data:`BASE` by name.
MODELS = {
    "tensornet": {},
    "tensornet2": {"model": "tensornet2", "charge": True},
    "repulsion": {"model": "tensornet2", "repulsion": True},
    "weighted-coulomb": {
        "model": "tensornet2", "output_model": "ScalarPlusWeightedCoulomb", "q_weights": [0.3, 0.7],
        "coulomb_cutoff": None,
    },
    "et": {"model": "equivariant-transformer"},
    "gn": GRAPH,
    "gn64": {**GRAPH, "precision": 64},
    "t": {"model": "transformer", "rbf_type": "gauss"},
    "atomref": {**GRAPH, "prior_model": [{"Atomref": {"max_z": 20, "enable": True}}]},
    "delta": {**GRAPH, "prior_model": [{"Atomref": {"max_z": 20, "enable": False}}], "remove_ref_energy": True},
    "zbl": {
        **GRAPH, "prior_model": "ZBL",
        "prior_args": {"cutoff_distance": 4.0, "max_num_neighbors": 50, "atomic_number": NUMBERS, **SCALES},
    },
    "coulomb": {
        **GRAPH, "prior_model": ["Coulomb"],
        "prior_args": [
            {"lower_switch_distance": 0.1, "upper_switch_distance": 0.4, "max_num_neighbors": 128, **SCALES}
        ],
    },
    "d2": {
        **GRAPH, "prior_model": ["Atomref", {"D2": None}],
        "prior_args": [
            {"max_z": 20}, {"cutoff_distance": 6.0, "max_num_neighbors": 128, "atomic_number": NUMBERS, **SCALES},
        ],
    },
}  # fmt: skip


def parameters(name="tensornet", **changes):
    """Hyperparameters of a model."""
    return copy.deepcopy({**BASE, **MODELS[name], **changes})


def write(path, name="tensornet", seed=0, **changes):
    """A checkpoint with random weights; the references of free atoms are of some eV."""
    from torchmdnet.models.model import create_model

    given = parameters(name, **changes)
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old architectures are deprecated
        torch.manual_seed(seed)
        model = create_model(copy.deepcopy(given))
        for prior in model.prior_model or ():
            if hasattr(prior, "atomref"):
                torch.nn.init.uniform_(prior.atomref.weight, -30, -10)
    state = {"model." + key: value for key, value in model.state_dict().items()}
    torch.save({"hyper_parameters": given, "state_dict": state, "pytorch-lightning_version": "2.6"}, path)
    return str(path)


def write_hollow(path, name="tensornet", **changes):
    """What a checkpoint states, with weights that are none: for what is told without TorchMD-Net."""
    state = {"model.representation_model.distance.box": torch.zeros(3, 3)}
    torch.save({"hyper_parameters": parameters(name, **changes), "state_dict": state}, path)
    return str(path)


def own(path, numbers, positions, box=None, **how):
    """TorchMD-Net's energy (kJ/mol) and forces (n, 3) (kJ/mol/nm) at positions and box in Å.

    Its box must be at least two cutoffs wide.
    """
    from torchmdnet.models.model import load_model

    inputs = {key: how.pop(key) for key in ("q", "extra_args") if key in how}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_model(path, derivative=True, **how)
        model.eval()
        dtype = next(model.parameters()).dtype
        points = torch.tensor(np.array(positions), dtype=dtype)
        cell = None if box is None else torch.tensor(np.array(box), dtype=dtype)
        answer = model(torch.tensor(numbers), points, box=cell, **inputs)
    values = [each.detach().double().numpy() for each in answer]
    scales = [KJ_PER_MOL_PER_EV, 10 * KJ_PER_MOL_PER_EV] * 2
    return [value * scale if value.ndim > 1 and value.shape[1] == 3 else float(value.squeeze()) * scale
            for value, scale in zip(values, scales, strict=False)]  # fmt: skip


def water(count, spacing=3.3, seed=3):
    """Water molecules on a lattice: atomic numbers, positions (3 count, 3) and cubic box (3, 3) in Å."""
    random = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1 / 3)))
    numbers, points = [], []
    for i in range(count):
        origin = np.array([i // side**2, i // side % side, i % side]) * spacing + random.normal(size=3) * 0.1
        u, v = random.normal(size=(2, 3))
        u /= np.linalg.norm(u)
        v -= v @ u * u
        v /= np.linalg.norm(v)
        points += [origin, origin + 0.96 * u, origin + 0.96 * (np.cos(1.82) * u + np.sin(1.82) * v)]
        numbers += [8, 1, 1]
    return numbers, np.array(points), np.eye(3) * side * spacing
