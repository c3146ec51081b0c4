"""Step 3: learn the energies of the four crystals, in plain PyTorch.

Then the honest question: what does a model know of the fourth crystal after it has learnt the other three?
Run: ``python 3_energies.py [--steps 1000] [--output output]``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from common import COLORS, build_model, load_crystals, new_picture, to_graph
from nequip.data import AtomicDataDict
from tqdm.auto import tqdm

CUTOFF = 2.0
LEARNING_RATE = 0.005


def per_atom(model: torch.nn.Module, batch: AtomicDataDict.Type) -> torch.Tensor:
    """Energies of the crystals in a batch, eV per atom."""
    out = model(dict(batch))
    return out[AtomicDataDict.TOTAL_ENERGY_KEY].flatten() / out[AtomicDataDict.NUM_NODES_KEY].flatten()


def train(names: list[str], steps: int, label: str) -> tuple[torch.nn.Module, list[float]]:
    """Adam on the mean squared error of some crystals.

    Parameters
    ----------
    names : list of str
        The crystals.
    steps : int
        Number of steps, all crystals in each.
    label : str
        Shown with the progress.

    Returns
    -------
    model : torch.nn.Module
    losses : list of float
        Mean squared error before each step, (eV/atom)^2.
    """
    crystals = load_crystals()
    batch = AtomicDataDict.batched_from_list([to_graph(crystals[name], CUTOFF, ["C"]) for name in names])
    targets = torch.tensor([crystals[name].info["energy_per_atom"] for name in names], dtype=torch.float64)
    model = build_model(["C"], CUTOFF, shift=targets.mean().item(), derivatives=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in tqdm(range(steps), desc=label, leave=False, disable=None):
        optimizer.zero_grad()
        loss = (per_atom(model, batch) - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def main() -> None:
    """Train on all four, then without each of them in turn; write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="steps of Adam")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for the picture")
    arguments = parser.parse_args()
    crystals = load_crystals()
    graphs = {name: to_graph(crystal, CUTOFF, ["C"]) for name, crystal in crystals.items()}

    model, losses = train(list(crystals), arguments.steps, "four crystals")
    print(f"loss {losses[0]:.2e} -> {losses[-1]:.2e} (eV/atom)^2 in {len(losses)} steps")
    print("eV/atom    target   learnt   predicted without it")
    predicted = {}
    for name, crystal in crystals.items():
        others = [other for other in crystals if other != name]
        blind, _ = train(others, max(1, arguments.steps // 5), f"without {name}")
        with torch.no_grad():
            batch = AtomicDataDict.batched_from_list([graphs[name]])
            predicted[name] = (
                crystal.info["energy_per_atom"],
                per_atom(model, batch).item(),
                per_atom(blind, batch).item(),
            )
        print(f"{name:9}{predicted[name][0]:8.3f}{predicted[name][1]:9.3f}{predicted[name][2]:12.3f}")

    figure, (left, right) = new_picture(2)
    left.loglog(range(1, len(losses) + 1), losses, color="k", linewidth=1)
    left.set(xlabel="step of Adam", ylabel="loss, (eV/atom)$^2$", title="four crystals, four numbers")
    for name, (target, learnt, unseen) in predicted.items():
        right.plot(target, learnt, "o", color=COLORS[name], label=name)
        right.plot(target, unseen, "x", color=COLORS[name])
    ends = min(right.get_xlim()[0], right.get_ylim()[0]), max(right.get_xlim()[1], right.get_ylim()[1])
    right.plot(ends, ends, color="0.7", linewidth=0.8, zorder=0)
    right.set(xlabel="Materials Project, eV/atom", ylabel="model, eV/atom", title="o learnt   x without it")
    right.locator_params(nbins=5)
    right.legend(frameon=False)
    arguments.output.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output / "energies.png", dpi=100)


if __name__ == "__main__":
    main()
