"""TorchScript models: ``.nequip.pth`` of nequip >= 0.7 and deployed ``.pth`` of nequip <= 0.6; no nequip is needed.

References
----------
Field names and extra files follow nequip's ``scripts/compile.py`` and, for the older files, ``scripts/deploy.py``.
"""

from __future__ import annotations

import torch

from .base import Model, ModelInfo, collect_outputs
from .metadata import make_info
from .source import ModelFileError, ModelSource

#: Extra files of both generations; torch.jit.load fills those that are present.
EXTRA_FILES = (
    "r_max",
    "type_names",
    "model_dtype",
    "default_dtype",
    "allow_tf32",
    "per_edge_type_cutoff",
    "nequip_version",
    "e3nn_version",
    "torch_version",
)
DTYPES = {"float32": torch.float32, "float64": torch.float64}


class TorchScriptModel(Model):
    """A scripted model; :attr:`module` is the module as it was saved, for use inside another scripted module.

    Parameters
    ----------
    info : ModelInfo
        Description of the model.
    module : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors.
    input_dtype : torch.dtype
        Precision of the floating-point inputs: float64 since nequip 0.7, the model's own before.
    """

    def __init__(self, info: ModelInfo, module: torch.jit.ScriptModule, input_dtype: torch.dtype) -> None:
        super().__init__(info)
        self.module = module
        self.input_dtype = input_dtype
        self._frozen = torch.jit.freeze(module)

    def _evaluate(self, positions, types, edge_index, shifts, cell):
        data = {
            "pos": positions.to(self.input_dtype),
            "atom_types": types,
            "edge_index": edge_index,
            "edge_cell_shift": shifts.to(self.input_dtype),
            "cell": cell.to(self.input_dtype).view(1, 3, 3),
        }
        # The module differentiates its energy itself, also where the caller has switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            out = self._frozen(data)
        return collect_outputs(out["total_energy"], out["forces"], out.get("atomic_energy"), out.get("virial"))


def load_torchscript(source: ModelSource, device: torch.device) -> TorchScriptModel:
    """Load a scripted NequIP or Allegro model onto ``device``, whatever device it was saved on.

    Parameters
    ----------
    source : ModelSource
        A file of kind ``torchscript``.
    device : torch.device
        Where to run it.

    Returns
    -------
    TorchScriptModel

    Raises
    ------
    ModelFileError
        If the file is damaged, or a TorchScript module that is not a NequIP or Allegro potential.
    """
    extra = dict.fromkeys(EXTRA_FILES, "")
    try:
        module = torch.jit.load(source.path, map_location=device, _extra_files=extra)
    except (RuntimeError, ValueError) as error:
        raise ModelFileError(
            f"TorchScript file {source.path} cannot be loaded: {str(error).strip().splitlines()[-1]}"
        ) from error
    facts = {key: value.decode() if isinstance(value, bytes) else value for key, value in extra.items()}
    missing = [key for key in ("r_max", "type_names") if not facts[key]]
    if missing:
        raise ModelFileError(
            f"TorchScript file {source.path} is no NequIP or Allegro potential: it lacks the extra files "
            f"{', '.join(missing)} that nequip-compile and nequip-deploy write"
        )
    # Files of nequip <= 0.6 name their own version; later ones name the dtype of the model instead.
    deployed = bool(facts["nequip_version"])
    dtype = facts["model_dtype"] or facts["default_dtype"] or "float32"
    if dtype not in DTYPES:
        raise ModelFileError(f"TorchScript file {source.path} states dtype {dtype!r}; expected float32 or float64")
    module.eval()
    info = make_info(
        source,
        facts | {"model_dtype": dtype},
        device,
        allow_tf32=facts["allow_tf32"].strip() in ("1", "True", "true"),
        compiled=True,
        target="torchscript, deployed by nequip <= 0.6" if deployed else "torchscript",
        outputs=("energy", "forces", "atomic_energies", "virial"),
    )
    return TorchScriptModel(info, module, DTYPES[dtype] if deployed else torch.float64)
