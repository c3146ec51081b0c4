"""Step 2: a NequIP model, what is inside, and what it means that it is equivariant.

The model is not trained yet: symmetry is built in, not learned. Run: ``python 2_model.py``.
"""

from __future__ import annotations

import torch
from ase import Atoms
from ase.build import bulk
from common import build_model, load_crystals, to_graph
from e3nn import o3
from nequip.data import AtomicDataDict

CUTOFF = 2.0


def evaluate(model: torch.nn.Module, atoms: Atoms, types: list[str]) -> dict[str, torch.Tensor]:
    """Energy (eV), forces (eV/angstrom) and the features of the atoms before the last layer."""
    features = []
    layer = next(module for name, module in model.named_modules() if name.endswith("layer1_convnet"))
    hook = layer.register_forward_hook(lambda _, __, out: features.append(out[AtomicDataDict.NODE_FEATURES_KEY]))
    out = model(to_graph(atoms, CUTOFF, types))
    hook.remove()
    return {
        "energy": out[AtomicDataDict.TOTAL_ENERGY_KEY].detach().squeeze(),
        "forces": out[AtomicDataDict.FORCE_KEY].detach(),
        "features": features[0].detach(),
    }


def show_layers(model: torch.nn.Module) -> o3.Irreps:
    """Print what every layer hands to the next, and return the irreps of the features before the last layer."""
    print("irreps of the features of each atom, layer by layer:")
    hidden = None
    for name, module in model.named_modules():
        if name.endswith("_convnet"):
            irreps = module.irreps_out[AtomicDataDict.NODE_FEATURES_KEY]
            hidden = irreps if name.endswith("layer1_convnet") else hidden
            print(f"  {name.rsplit('.', 1)[-1]}: {irreps}")
    print(f"{sum(parameter.numel() for parameter in model.parameters())} parameters\n")
    return hidden


def show_symmetry(model: torch.nn.Module, irreps: o3.Irreps) -> None:
    """Rotate, mirror, translate, renumber and repeat a crystal, and compare."""
    atoms = load_crystals()["mp-169"]
    atoms.rattle(0.1, seed=1)
    before = evaluate(model, atoms, ["C"])
    torch.manual_seed(1)
    rotation = -o3.rand_matrix()  # a rotation and an inversion
    matrix = rotation.numpy()
    turned = Atoms(atoms.symbols, atoms.positions @ matrix.T, cell=atoms.cell[:] @ matrix.T, pbc=True)
    after = evaluate(model, turned, ["C"])
    print("the crystal rotated and mirrored:")
    print(f"  energy: {before['energy']:.10f} and {after['energy']:.10f} eV")
    print(f"  forces as they are differ by {(after['forces'] - before['forces']).abs().max():.1e} eV/A, ", end="")
    print(f"after turning them back by {(after['forces'] @ rotation - before['forces']).abs().max():.1e} eV/A")
    wigner = irreps.D_from_matrix(rotation)
    difference = (after["features"] - before["features"] @ wigner.T).abs().max()
    print(f"  hidden features f(R x) and D(R) f(x) differ by {difference:.1e}; D(R) is {wigner.shape[0]} x ", end="")
    print(f"{wigner.shape[1]}, a block for each irrep")

    order = [2, 0, 3, 1]
    moved = atoms[order]
    moved.positions += [0.3, -0.2, 0.1]
    moved.positions[1] += moved.cell[0] - 2 * moved.cell[2]
    after = evaluate(model, moved, ["C"])
    print("atoms renumbered, all of them moved, one by whole lattice vectors:")
    print(f"  energy: {after['energy']:.10f} eV, forces differ by ", end="")
    print(f"{(after['forces'] - before['forces'][order]).abs().max():.1e} eV/A")
    after = evaluate(model, atoms * 2, ["C"])
    print(f"2 x 2 x 2 cells: {after['energy']:.10f} eV, one eighth of it {after['energy'] / 8:.10f} eV\n")


def show_types() -> None:
    """What atom types are, shown by one silicon atom in diamond and a model of two types."""
    types = ["C", "Si"]
    model = build_model(types, CUTOFF)
    print(f"a model of the types {types}: the graph holds numbers, type_names gives them their meaning")
    atoms = bulk("C", "diamond", 3.7, cubic=True)
    atoms.symbols[0] = "Si"
    for names in (types, types[::-1]):
        graph = to_graph(atoms, CUTOFF, names)
        energy = model(graph)[AtomicDataDict.TOTAL_ENERGY_KEY].item()
        numbers = graph[AtomicDataDict.ATOM_TYPE_KEY].tolist()
        print(f"  {atoms.symbols} mapped by {names}: types {numbers}, energy {energy:.4f} eV")


def main() -> None:
    """Build the model and show its parts."""
    torch.set_default_dtype(torch.float64)  # for e3nn's matrices
    model = build_model(["C"], CUTOFF)
    hidden = show_layers(model)
    show_symmetry(model, hidden)
    show_types()


if __name__ == "__main__":
    main()
