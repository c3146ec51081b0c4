"""What the model's precision costs in accuracy: nothing to choose on a CPU, TF32 on a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...models import Model
from ...upstream.nequip_state import tf32_allowed
from .bench_systems import BenchSystem, build_system
from .contenders import Subject
from .runners import FixedGraph

#: Size of the system that errors are told of.
ATOMS = 96


def describe_precision(subject: Subject, variant: str, device: str) -> dict[str, Any]:
    """Precision options and, on CUDA, the error of each against the same model on the CPU.

    Parameters
    ----------
    subject : Subject
        The model.
    variant : str
        How to run it (:data:`openmm_nequip.app.bench.bench_settings.VARIANTS`).
    device : str
        ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    dict
        JSON-ready; ``errors`` has a row with TF32 matrix products allowed and one with them forbidden.
    """
    model = subject.model(variant, device)
    facts: dict[str, Any] = {"dtype": model.info.dtype, "device": device}
    if torch.device(device).type != "cuda":
        return facts | {"tf32": "not applicable on a CPU", "errors": []}
    facts["tf32"] = "allowed by the model file" if model.info.allow_tf32 else "not allowed by the model file"
    reference_model = subject.model("none" if variant == "fused" else variant, "cpu")
    bench = build_system(model.info.type_names, ATOMS)
    reference = FixedGraph(bench, reference_model, subject.units).evaluate()
    facts["errors"] = []
    for allowed in (False, True):
        with tf32_allowed(allowed):
            energy, forces = _evaluate(bench, model, subject)
        facts["errors"].append(
            {
                "tf32": allowed,
                "energy_kj_per_mol_per_atom": abs(energy - reference.energy) / bench.n_atoms,
                "force_kj_per_mol_nm": float(np.abs(forces - reference.forces).max()),
                "largest_force_kj_per_mol_nm": float(np.abs(reference.forces).max()),
                "against": f"the CPU, {reference_model.info.dtype}",
            }
        )
    return facts


def _evaluate(bench: BenchSystem, model: Model, subject: Subject) -> tuple[float, np.ndarray]:
    """Energy (kJ/mol) and forces (kJ/mol/nm) under the TF32 setting in force."""
    out = model.evaluate(FixedGraph(bench, model, subject.units).graph)
    return float(out.energy) * subject.units.energy, out.forces.cpu().numpy() * subject.units.force
