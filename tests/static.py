"""Small models with sharp repulsion and several cutoffs, a structure for them, and a recorder that needs no GPU."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from openmm_nequip.evaluate.recording import WAITING
from openmm_nequip.models.eager import EagerModel
from openmm_nequip.models.metadata import make_info
from openmm_nequip.upstream.nequip_state import preserved_global_state

TYPES = ["H", "C", "N", "O"]
CUTOFF = 4.0
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": TYPES}
CUTOFFS = {"H": 2.5, "O": {"H": 3.0, "C": 4.0, "N": 4.0, "O": 3.5}}
#: Extra arguments of each model that is built here: class and settings.
BUILT = {
    "nequip": ("nequip", {}),
    "nequip, ZBL": ("nequip", {"pair_potential": ZBL}),
    "nequip, cutoffs by type": ("nequip", {"per_edge_type_cutoff": CUTOFFS}),
    "nequip, ZBL, cutoffs by type": ("nequip", {"pair_potential": ZBL, "per_edge_type_cutoff": CUTOFFS}),
    "nequip, l=2, deep": ("nequip", {"l_max": 2, "num_layers": 3, "radial_mlp_depth": 2, "num_features": 2}),
    "allegro": ("allegro", {}),
    "allegro, ZBL": ("allegro", {"pair_potential": ZBL}),
    "allegro, cutoffs by type": ("allegro", {"per_edge_type_cutoff": CUTOFFS}),
    "allegro, splines": ("allegro", {"spline": True}),
}


def build(name: str, dtype: str = "float64") -> EagerModel:
    """A model of :data:`BUILT` with random weights, evaluated eagerly."""
    kind, extra = BUILT[name]
    extra = dict(extra)
    common = {
        "seed": 3, "model_dtype": dtype, "type_names": TYPES, "r_max": CUTOFF, "compile_mode": "eager",
        "avg_num_neighbors": 15.0, "l_max": 1, "num_layers": 2, "per_type_energy_scales": 1.3,
        "per_type_energy_shifts": {"H": -0.5, "C": -2.0, "N": -3.0, "O": -4.0},
    }  # fmt: skip
    with preserved_global_state():
        from nequip.utils.global_state import set_global_state

        set_global_state()
        if kind == "nequip":
            from nequip.model import NequIPGNNModel

            settings = {"num_features": 4, "radial_mlp_depth": 1, "radial_mlp_width": 8, "type_embed_num_features": 4}
            module = NequIPGNNModel(**(common | settings | extra))
        else:
            from allegro.model import AllegroModel

            embedding = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 4}
            if extra.pop("spline", False):
                embedding = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 6, "spline_span": 4}
            module = AllegroModel(
                **common, num_scalar_features=8, num_tensor_features=4, allegro_mlp_hidden_layers_depth=1,
                allegro_mlp_hidden_layers_width=8, radial_chemical_embed=embedding, radial_chemical_embed_dim=8,
                readout_mlp_hidden_layers_depth=1, readout_mlp_hidden_layers_width=4, **extra,
            )  # fmt: skip
        module.eval()
        module.requires_grad_(False)
        outputs = ("energy", "forces", "atomic_energies", "virial")
        return EagerModel(make_info(module.metadata, outputs=outputs), torch.device("cpu"), module)


def structure(periodic: bool, seed: int = 5, n: int = 3, spacing: float = 2.2) -> tuple[np.ndarray, np.ndarray]:
    """A rattled lattice of n^3 atoms in model lengths, and its cell (that of a model where it is not periodic)."""
    ticks = np.arange(n) * spacing
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    positions = grid + np.random.default_rng(seed).normal(0, 0.12, grid.shape)
    return positions, np.eye(3) * (n * spacing if periodic else 10 * CUTOFF)


class RowByRow(TorchDispatchMode):
    """Matrix products whose rows know nothing of each other.

    A library of matrix products takes other code for other numbers of rows, on some CPUs even for the few rows at the
    end, so that the last bit of one edge depends on how many there are. Here each row is summed in the same order.
    """

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            return _product(*args)
        if func in (torch.ops.aten.addmm.default, torch.ops.aten.baddbmm.default):
            return kwargs.get("beta", 1) * args[0] + kwargs.get("alpha", 1) * _product(*args[1:3])
        return func(*args, **kwargs)


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    total = left.new_zeros((*left.shape[:-1], right.shape[-1]))
    for k in range(left.shape[-1]):
        total = total + left[..., k : k + 1] * right[..., k : k + 1, :]
    return total


class Tape(TorchDispatchMode):
    """Every operation of a step, to be repeated on the same memory as a CUDA graph does."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []
        self.names: Counter = Counter()
        self._slots: dict[int, int] = {}
        self.alive: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        flat, spec = tree_flatten((args, kwargs or {}))
        slots = [self._slots.get(id(x)) if isinstance(x, torch.Tensor) else None for x in flat]
        out = func(*args, **(kwargs or {}))
        self.names[func.name().removeprefix("aten::")] += 1
        first = len(self.alive)
        for tensor in tree_flatten(out)[0]:
            if isinstance(tensor, torch.Tensor):
                self._slots[id(tensor)] = len(self.alive)
            self.alive.append(tensor)
        self.calls.append((func, flat, spec, slots, first))
        return out

    def run(self) -> list:
        """Do it all again; outputs by slot."""
        made: list = []
        for func, flat, spec, slots, _ in self.calls:
            leaves = [x if slot is None else made[slot] for x, slot in zip(flat, slots, strict=True)]
            args, kwargs = tree_unflatten(leaves, spec)
            made.extend(tree_flatten(func(*args, **kwargs))[0])
        return made

    def slot(self, tensor: torch.Tensor) -> int:
        """Where a result is found after :meth:`run`."""
        return self._slots[id(tensor)]


class TapeRecorder:
    """A recorder for CPUs: repeats operations, not the Python code that led to them, and counts what it does."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.waits = self.recordings = self.replays = 0
        self.tape: Tape | None = None

    def buffer(self, size):
        return torch.zeros(size, dtype=torch.float64)

    def wait(self):
        self.waits += 1

    def record(self, step):
        if self.broken:
            raise RuntimeError(self.broken)
        self.recordings += 1
        step()
        with Tape() as tape:
            result = step()
        waiting = [name for name in tape.names if name.startswith(WAITING)]
        if waiting:
            raise RuntimeError(f"operation not permitted when stream is capturing: {', '.join(waiting)}")
        self.tape = tape
        return _Recorded(self, tape, result)


class _Recorded:
    def __init__(self, recorder, tape, result):
        self.recorder, self.tape, self.slot, self.result = recorder, tape, tape.slot(result), result
        self.result = result.clone()

    def replay(self):
        self.recorder.replays += 1
        with torch.no_grad():
            self.result.copy_(self.tape.run()[self.slot])
        return self.result


class RunRecorder(TapeRecorder):
    """A recorder for code that no tape sees (compiled packages): calls the step, and gives the same memory back."""

    def record(self, step):
        self.recordings += 1
        result = step().clone()
        recorder = self

        class Recorded:
            def replay(self):
                recorder.replays += 1
                return result.copy_(step())

        return Recorded()
