"""What the scripts of this tutorial share: the four crystals, graphs of them, and the potential that labels frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.calculators.tersoff import Tersoff, TersoffParameters
from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
from nequip.model import ModelFromPackage, NequIPGNNModel
from nequip.utils.global_state import set_global_state

HERE = Path(__file__).resolve().parent
#: Colours of the crystals in all pictures.
COLORS = {"mp-47": "tab:red", "mp-48": "tab:blue", "mp-66": "tab:green", "mp-169": "tab:purple"}
#: Cells for training and test frames: 36 to 72 atoms and at least 7 angstrom wide. In narrower ones the second
#: neighbours of an atom are images of a few atoms, and a model trained on them fails in wider cells (README.md).
SUPERCELLS = {"mp-47": (3, 3, 2), "mp-48": (3, 3, 1), "mp-66": (2, 2, 2), "mp-169": (2, 3, 2)}
#: J. Tersoff, Phys. Rev. Lett. 61, 2879 (1988) and Phys. Rev. B 39, 5566 (1989), carbon; eV and angstrom. R and D are
#: centre and half width of the range in which interactions end: 1.80 to 2.10 angstrom.
CARBON = TersoffParameters(
    A=1393.6, B=346.74, lambda1=3.4879, lambda2=2.2119, lambda3=0.0, beta=1.5724e-7, n=0.72751, c=3.8049e4, d=4.3484,
    h=-0.57058, R=1.95, D=0.15, gamma=1.0, m=3.0,
)  # fmt: skip


def load_crystals() -> dict[str, Atoms]:
    """The four crystals by Materials Project id.

    Returns
    -------
    dict of str to ase.Atoms
        ``info`` holds ``name``, ``energy_per_atom`` (eV above the most stable phase) and ``edges_at_2_angstrom``.
    """
    entries = json.loads((HERE / "crystals.json").read_text(encoding="utf-8"))["crystals"]
    crystals = {}
    for entry in entries:
        atoms = Atoms(entry["symbols"], entry["positions"], cell=entry["lattice"], pbc=True)
        atoms.info.update({key: entry[key] for key in ("id", "name", "energy_per_atom", "edges_at_2_angstrom")})
        crystals[entry["id"]] = atoms
    return crystals


def to_graph(atoms: Atoms, cutoff: float, types: list[str]) -> AtomicDataDict.Type:
    """The dictionary of tensors that a nequip model takes.

    Parameters
    ----------
    atoms : ase.Atoms
        A periodic structure, angstrom.
    cutoff : float
        Longest edge, angstrom.
    types : list of str
        The model's type names; here an element's type has the element's name.
    """
    data = compute_neighborlist_(from_ase(atoms), cutoff)
    return ChemicalSpeciesToAtomTypeMapper(types)(data)


def build_model(types: list[str], cutoff: float, shift: float = 0.0, derivatives: bool = True) -> torch.nn.Module:
    """A NequIP model with nequip's own builder, not trained: three layers, features up to l = 2, both parities.

    Parameters
    ----------
    types : list of str
        Names of the atom types.
    cutoff : float
        Longest edge, angstrom.
    shift : float
        Energy of every atom before the model has learnt anything, eV.
    derivatives : bool
        Whether forces and stress are computed too.
    """
    set_global_state()  # nequip wants its global settings made before a model is built
    return NequIPGNNModel(
        seed=1,
        model_dtype="float64",
        type_names=types,
        r_max=cutoff,
        num_layers=3,
        l_max=2,
        parity=True,
        num_features=[32, 8, 8],
        radial_mlp_depth=1,
        radial_mlp_width=32,
        avg_num_neighbors=4.0,
        per_type_energy_scales=1.0,
        per_type_energy_shifts=shift,
        do_derivatives=derivatives,
        compile_mode="eager",
    )


def load_model(path: Path) -> torch.nn.Module:
    """A packaged model as a PyTorch module, by nequip's own loader; float64 here."""
    set_global_state()
    return ModelFromPackage(str(path), compile_mode="eager")["sole_model"].eval()


def predict(model: torch.nn.Module, frames: list[Atoms]) -> dict[str, np.ndarray]:
    """What a carbon model says about frames, all in one batch.

    Parameters
    ----------
    model : torch.nn.Module
        From :func:`load_model`.
    frames : list of ase.Atoms
        Periodic, angstrom.

    Returns
    -------
    dict of str to numpy.ndarray
        ``energies`` (n_frames,) eV per atom, ``forces`` (all atoms, 3) eV/angstrom, ``stresses`` (n_frames, 3, 3)
        eV/angstrom^3, positive under tension as in ASE.
    """
    cutoff = float(model.metadata["r_max"])
    out = model(AtomicDataDict.batched_from_list([to_graph(frame, cutoff, ["C"]) for frame in frames]))
    energies = out[AtomicDataDict.TOTAL_ENERGY_KEY].flatten() / out[AtomicDataDict.NUM_NODES_KEY].flatten()
    fields = {"forces": AtomicDataDict.FORCE_KEY, "stresses": AtomicDataDict.STRESS_KEY}
    return {"energies": energies.detach().numpy()} | {key: out[field].detach().numpy() for key, field in fields.items()}


def tersoff() -> Tersoff:
    """ASE's Tersoff potential with the published parameters of carbon."""
    return Tersoff({("C", "C", "C"): CARBON})


def labelled(atoms: Atoms) -> Atoms:
    """A copy that carries its Tersoff energy (eV), forces (eV/angstrom) and stress (eV/angstrom^3)."""
    frame = Atoms(atoms.get_chemical_symbols(), atoms.positions, cell=atoms.cell, pbc=True)
    frame.calc = tersoff()
    energy, forces, stress = frame.get_potential_energy(), frame.get_forces(), frame.get_stress()
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces.copy(), stress=stress.copy())
    frame.info["crystal"] = atoms.info["id"]
    return frame


def new_picture(columns: int, width: float = 4.2, height: float = 3.6):
    """A figure and its axes, side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=(width * columns, height), layout="constrained", squeeze=False)
    for axis in axes[0]:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes[0]


def tensor_info(data: AtomicDataDict.Type) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in a graph."""
    return {key: tuple(value.shape) for key, value in data.items() if isinstance(value, torch.Tensor)}
