"""TorchScript models: ``.nequip.pth`` of nequip >= 0.7 and deployed ``.pth`` of nequip <= 0.6; no nequip is needed.

References
----------
Field names and extra files follow nequip's ``scripts/compile.py`` and, for the older files, ``scripts/deploy.py``.
"""

from __future__ import annotations

import io
from typing import Any

import torch

from ...choices import FAMILIES
from ...errors import ModelFileError, NotFusableError
from ...graph.fields import collect_outputs, model_inputs
from ...graph.geometry import near_origin
from ...graph.graph import Graph, Outputs
from ...kernels.read.scripted import show
from ...upstream.openmm_messages import first_line, says_damaged
from ..ages import parse_version
from ..archive import damaged, entries, read_end, read_entry
from ..base import Model, ModelInfo, flat
from ..eager import ALL_OUTPUTS
from ..execution import Execution
from ..format import TORCHSCRIPT, Contents, Format
from ..graph_inputs import GraphInput, as_tensors, inputs_of_fields
from ..metadata import make_info
from ..scripted_inputs import ScriptedWithInputs
from ..scripted_outputs import totalled
from ..source import ModelSource
from .module_file import takes
from .peek import class_names, embedded_fields, module_names, parameter_dtype, peek, state_of, untagged

#: Extra files of both generations; those that are present are read.
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
#: Python modules of nequip <= 0.6 that hold the roots of its files; later ones have none of these names.
_EARLY_MODULES = ("nequip.nn._rescale", "nequip.nn._graph_model", "nequip.nn._grad_output")
#: Classes of these roots.
_DEPLOYED_ROOTS = ("GraphModel", "RescaleOutput", "StressOutput", "GradientOutput")


class TorchScriptModel(Model):
    """A scripted model; :attr:`module` is the module as it was saved, for use inside another scripted module.

    Parameters
    ----------
    info : ModelInfo
        Facts about the model.
    device : torch.device
        Where it is.
    module : torch.jit.ScriptModule
        Takes and returns a dictionary of tensors.
    input_dtype : torch.dtype
        Precision of the floating-point inputs, see :func:`input_dtype`.
    """

    def __init__(
        self, info: ModelInfo, device: torch.device, module: torch.jit.ScriptModule, input_dtype: torch.dtype
    ) -> None:
        super().__init__(info, device)
        self.module = module
        self.input_dtype = input_dtype
        self._frozen = torch.jit.freeze(module)

    def _evaluate(self, graph: Graph) -> Outputs:
        dtype = self.input_dtype
        positions, types, index, shifts, cell = flat(graph)
        if dtype != torch.float64:
            positions, shifts = near_origin(positions, index, shifts, cell)
        data = model_inputs(positions.to(dtype), types, index, shifts.to(dtype), cell.to(dtype))
        # The module differentiates its energy itself, also where the caller has switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            out = self._frozen(data)
        return collect_outputs(out["total_energy"], out["forces"], out.get("atomic_energy"), out.get("virial"))


def recognise(contents: Contents) -> bool:
    """Whether a file is TorchScript."""
    return "constants.pkl" in contents.inner and contents.has("code/") and ".data/extern_modules" not in contents.inner


def states_facts(contents: Contents) -> bool:
    """Whether nequip's extra files lie beside a module."""
    return any(name in ("extra/r_max", "extra/type_names") for name in contents.inner)


def read_info(source: ModelSource) -> ModelInfo:
    """Facts from the extra files beside the module.

    Parameters
    ----------
    source : ModelSource
        The file.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the file is damaged, or a TorchScript module that is not a NequIP or Allegro potential.
    """
    facts = _extra_files(source)
    missing = [key for key in ("r_max", "type_names") if not facts[key]]
    if missing:
        raise ModelFileError(
            f"TorchScript file {source.path} is no NequIP or Allegro potential: it lacks the extra files "
            f"{', '.join(missing)} that nequip-compile and nequip-deploy write. As another potential it needs its "
            f"inputs declared: give moduleInputs= (--module-inputs); {takes(source)}",
            source.path,
        )
    dtype = facts["model_dtype"] or facts["default_dtype"] or _parameters(source)
    for stated in (dtype, facts["default_dtype"] or dtype):
        if stated not in DTYPES:
            raise ModelFileError(
                f"TorchScript file {source.path} states dtype {stated!r}; expected float32 or float64", source.path
            )
    deployed = _is_deployed(source, facts)
    return make_info(
        facts | {"model_dtype": dtype},
        allow_tf32=facts["allow_tf32"].strip() in ("1", "True", "true"),
        compiled=True,
        target="torchscript, deployed by nequip <= 0.6" if deployed else "torchscript",
        outputs=_outputs(source, deployed),
        inputs=_inputs(source),
    )


def _parameters(source: ModelSource) -> str:
    """Precision of a file's parameters: nequip 0.5 stated none."""
    return parameter_dtype(_peeked(source)) or "float32"


def input_dtype(source: ModelSource) -> torch.dtype:
    """Precision in which a file takes positions, cell and shifts.

    That of the weights is another thing: a file of nequip 0.6 with ``default_dtype`` float64 and ``model_dtype``
    float32 takes positions in float64 and rounds the edge vectors.

    Parameters
    ----------
    source : ModelSource
        A TorchScript file whose facts were read.

    Returns
    -------
    torch.dtype
    """
    facts = _extra_files(source)
    if not _is_deployed(source, facts):
        return torch.float64
    return DTYPES[facts["default_dtype"] or facts["model_dtype"] or _parameters(source)]


def _extra_files(source: ModelSource) -> dict[str, str]:
    """What ``torch.jit.load`` calls extra files, without loading the module; empty text for what is absent."""
    facts = dict.fromkeys(EXTRA_FILES, "")
    for name in entries(source):
        folder, _, key = name.rpartition("/extra/")
        if folder and key in facts:
            facts[key] = read_entry(source, name).decode(errors="replace").strip()
    return facts


def _peeked(source: ModelSource) -> Any:
    """The structure of the module, from its pickle; None where that cannot be read."""
    try:
        return peek(read_end(source, "/data.pkl") or b"")
    except ValueError:
        return None


def _outputs(source: ModelSource, deployed: bool) -> tuple[str, ...]:
    """What a module gives: files of nequip <= 0.6 have a virial only with one of its modules for stress."""
    if deployed and not any("Stress" in name for name in class_names(_peeked(source))):
        return tuple(name for name in ALL_OUTPUTS if name != "virial")
    return ALL_OUTPUTS


def _inputs(source: ModelSource) -> tuple[GraphInput, ...]:
    """What a module takes beside the structure; files that state nothing take nothing."""
    module = _peeked(source)
    fields = untagged(state_of(module).get("model_input_fields"))
    try:
        embedded = embedded_fields(module)
    except (KeyError, TypeError, AttributeError):
        embedded = {}
    return inputs_of_fields(fields if isinstance(fields, list) else (), embedded)


def _is_deployed(source: ModelSource, facts: dict[str, str]) -> bool:
    """Whether nequip <= 0.6 made a file: it named its own version, and where that was lost its modules tell."""
    stated = parse_version(facts["nequip_version"])
    if stated is not None:
        return stated < (0, 7)
    early = tuple(f"__torch__.{name}" for name in _EARLY_MODULES)
    return any(name.startswith(early) for name in module_names(_peeked(source)))


def open_torchscript(source: ModelSource, device: torch.device, execution: Execution) -> TorchScriptModel:
    """Open a scripted NequIP or Allegro model on ``device``, whatever device it was saved on.

    Parameters
    ----------
    source : ModelSource
        A TorchScript file.
    device : torch.device
        Where to run it.
    execution : Execution
        Its inputs beside the structure; the file is compiled.

    Returns
    -------
    TorchScriptModel

    Raises
    ------
    ModelFileError
        If the file is damaged, or a TorchScript module that is not a NequIP or Allegro potential.
    """
    info = read_info(source)
    try:
        module = torch.jit.load(io.BytesIO(source.read()), map_location=device)
    except Exception as error:  # torch raises anything on a foreign file
        if says_damaged(str(error)):
            raise damaged(source.path, str(error).partition(".")[0]) from error
        raise ModelFileError(
            f"TorchScript file {source.path} cannot be loaded by torch {torch.__version__} ({type(error).__name__}: "
            f"{first_line(str(error))}); compile or deploy the model again, with a torch of about this version",
            source.path,
        ) from error
    for part in module.modules():  # trained on energies alone: it can compute forces
        if getattr(part, "do_derivatives", True) is False:
            part.do_derivatives = True
    module = totalled(module.eval(), source.path)
    if execution.inputs:
        module = torch.jit.script(ScriptedWithInputs(module, as_tensors(info.inputs, execution.inputs)).eval())
    return TorchScriptModel(info, device, module, input_dtype(source))


def family_of(source: ModelSource) -> str:
    """What kind of model a file holds, by the Python modules that its parts came from.

    Parameters
    ----------
    source : ModelSource
        A TorchScript file.

    Returns
    -------
    str
        One of :data:`openmm_nequip.choices.FAMILIES`; empty for what is neither.
    """
    names = module_names(_peeked(source))
    # Allegro's modules stand on nequip's.
    for family in reversed(FAMILIES):
        if any(family.lower() in name.split(".") for name in names):
            return family
    return ""


def load_to_fuse(source: ModelSource) -> tuple[Any, dict[str, str]]:
    """A scripted model as the readers of the fused kernels want it.

    Parameters
    ----------
    source : ModelSource
        A TorchScript file.

    Returns
    -------
    module : openmm_nequip.kernels.read.scripted.ScriptedModule
        On the CPU, with ``model_dtype``; takes and returns nequip's fields.
    facts : dict of str to str
        nequip's metadata.

    Raises
    ------
    ModelFileError
        If the file is damaged, or a TorchScript module that is not a NequIP or Allegro potential.
    NotFusableError
        If another module is around it.
    """
    model = open_torchscript(source, torch.device("cpu"), Execution(device="cpu"))
    facts = _extra_files(source)
    deployed = _is_deployed(source, facts)
    root = model.module.original_name
    if root not in (_DEPLOYED_ROOTS if deployed else ("GraphModel",)) and family_of(source):
        raise NotFusableError(f"it is inside a module of another kind ({root}), which may convert units or types")
    for parameter in model.module.parameters():
        parameter.requires_grad_(False)
    module = show(model.module)
    if deployed:
        module = module.taking(model.input_dtype)
    module.model_dtype = DTYPES[model.info.dtype]
    return module, facts | {"model_dtype": model.info.dtype}


FORMAT = Format(
    kind=TORCHSCRIPT,
    suffix=".nequip.pth",
    runs_code=False,
    can_compile=False,
    can_fuse=True,
    recognise=recognise,
    read_info=read_info,
    open=open_torchscript,
)
