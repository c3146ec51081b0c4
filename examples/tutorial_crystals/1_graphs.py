"""Step 1: four crystals of carbon as graphs, the way nequip sees them.

Run: ``python 1_graphs.py [--cutoff 2.0]``.
"""

from __future__ import annotations

import argparse

import torch
from common import load_crystals, tensor_info, to_graph
from nequip.data import AtomicDataDict


def main() -> None:
    """Print the crystals, their edges, one edge list, and a batch of all four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoff", type=float, default=2.0, help="longest edge, angstrom")
    arguments = parser.parse_args()
    graphs = {}
    print(f"{'':8}{'':26}atoms  edges at {arguments.cutoff:g} A  eV/atom")
    for name, crystal in load_crystals().items():
        graphs[name] = to_graph(crystal, arguments.cutoff, ["C"])
        edges = AtomicDataDict.num_edges(graphs[name])
        print(f"{name:8}{crystal.info['name']:26}{len(crystal):5}{edges:16}{crystal.info['energy_per_atom']:9.3f}")

    print("\nThe graph of mp-48 (graphite), a dictionary of tensors:")
    graph = graphs["mp-48"]
    for key, shape in tensor_info(graph).items():
        print(f"  {key:18}{shape}")

    print("\nThe edges of its first atom: centre, neighbour, whole cells to the neighbour's image, distance")
    centre, neighbour = graph[AtomicDataDict.EDGE_INDEX_KEY]
    shifts, cell = graph[AtomicDataDict.EDGE_CELL_SHIFT_KEY], graph[AtomicDataDict.CELL_KEY].view(3, 3)
    positions = graph[AtomicDataDict.POSITIONS_KEY]
    vectors = positions[neighbour] - positions[centre] + shifts @ cell
    for edge in torch.nonzero(centre == 0).flatten():
        length = torch.linalg.vector_norm(vectors[edge])
        print(f"  {centre[edge]} -> {neighbour[edge]}  {shifts[edge].int().tolist()!s:12} {length:.4f} A")

    batch = AtomicDataDict.batched_from_list(list(graphs.values()))
    print("\nA batch is the four graphs side by side, without edges between them:")
    print(f"  {len(batch[AtomicDataDict.POSITIONS_KEY])} atoms, {AtomicDataDict.num_edges(batch)} edges; ", end="")
    print(f"crystal of each atom: {batch[AtomicDataDict.BATCH_KEY].tolist()}")


if __name__ == "__main__":
    main()
