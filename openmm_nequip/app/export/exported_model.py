"""What is exported: a scripted model, the structure, and what the model itself says of it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import openmm.app as app
import torch

from ...errors import CompileError, ExportError
from ...models import Execution, Model, check_execution, check_inputs, format_of, locate, open_model, read_info
from ...models.compiling.scripting import sample_graph, scripted_form
from ...models.format import TORCHSCRIPT
from ...models.formats.torchscript import TorchScriptModel, family_of
from ...models.graph_inputs import InputValues, parse_inputs
from ...models.source import ModelSource
from ...models.units_in_force import units_of
from ...topology import atom_types, common_symbol
from ...units import Units
from ..single_point import SinglePoint, evaluate
from ..structures.structure_files import Structure, read_structure
from .adapted_dialect import AdaptedDialect


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """A model on its way out.

    Parameters
    ----------
    source : ModelSource
        The file that was given.
    content : bytes
        The model as TorchScript.
    script : TorchScriptModel
        The same, opened.
    family : str
        One of :data:`openmm_nequip.choices.FAMILIES`.
    reference : Model
        The model that answers for the numbers.
    units : Units
        The model's units.
    structure : Structure
        The atoms; a made-up crystal with every type where none was given.
    made_up : bool
        Whether it is that.
    types : numpy.ndarray, (n_atoms,) int64
        Model types of the atoms.
    inputs : tuple of (str, number)
        What the model takes beside the structure.
    """

    source: ModelSource
    content: bytes
    script: TorchScriptModel
    family: str
    reference: Model
    units: Units
    structure: Structure
    made_up: bool
    types: np.ndarray
    inputs: InputValues = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the model's types."""
        return self.script.info.type_names

    def answer(self, structure: Structure | None = None) -> SinglePoint:
        """What the model itself says of the structure, or of the same atoms elsewhere."""
        return evaluate(self.reference, structure or self.structure, self.units, self.types.tolist())

    def elements(self, engine: str) -> tuple[str, ...]:
        """The types as chemical symbols.

        Raises
        ------
        ExportError
            If one is none.
        """
        for name in self.names:
            if not _is_element(name):
                raise ExportError(
                    f"{engine} knows atoms by their element, and the model has the type {name!r}; retype the model, or "
                    "export to LAMMPS, which takes any names"
                )
        return self.names

    def adapted(self, types: Sequence[int], length_nm: float, energy: float) -> torch.jit.ScriptModule:
        """The model in an engine's units and types, float64 in and out.

        Parameters
        ----------
        types : sequence of int
            Model type of each of the engine's.
        length_nm, energy : float
            One length of the engine in nm, one energy in kJ/mol.

        Returns
        -------
        torch.jit.ScriptModule
        """
        double = self.script.input_dtype == torch.float64
        length = length_nm / self.units.length
        module = AdaptedDialect(self.script.module, list(types), length, self.units.energy / energy, double)
        return script_quietly(module)

    def speaks(self, length_nm: float, energy: float) -> bool:
        """Whether the file as it is takes float64 in an engine's units, without further inputs, and is nequip's own.

        Parameters
        ----------
        length_nm, energy : float
            One length of the engine in nm, one energy in kJ/mol.

        Returns
        -------
        bool
        """
        recent = "deployed" not in (self.script.info.target or "")
        plain = recent and self.script.module.original_name == "GraphModel"
        same = np.isclose([self.units.length, self.units.energy], [length_nm, energy], rtol=1e-9, atol=0).all()
        return bool(plain and same and not self.script.info.inputs)

    def metadata(self, types: Sequence[int], length_nm: float) -> dict[str, str]:
        """nequip's metadata for an adapted file.

        Parameters
        ----------
        types : sequence of int
            Model type of each of the engine's.
        length_nm : float
            One length of the engine in nm.

        Returns
        -------
        dict of str to str
        """
        info, factor = self.script.info, self.units.length / length_nm
        facts = {
            "r_max": repr(info.reach * factor),
            "type_names": " ".join(self.names[t] for t in types),
            "num_types": str(len(types)),
            "model_dtype": info.dtype,
            "allow_tf32": "0",
        }
        if info.per_edge_type_cutoff is not None:
            rows = [[info.per_edge_type_cutoff[a][b] * factor for b in types] for a in types]
            facts["per_edge_type_cutoff"] = " ".join(repr(value) for row in rows for value in row)
        return facts


def _is_element(name: str) -> bool:
    try:
        app.element.get_by_symbol(name)
    except KeyError:
        return False
    return True


def script_quietly(module: torch.nn.Module) -> torch.jit.ScriptModule:
    """A module scripted, in evaluation mode, without torch's word on the future of scripting."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(module.eval())


def save_quietly(module: torch.jit.ScriptModule, path: Any, facts: Mapping[str, str]) -> None:
    """Write a scripted module with extra files beside it.

    Parameters
    ----------
    module : torch.jit.ScriptModule
        The module.
    path : path-like
        File to write.
    facts : mapping of str to str
        The extra files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(module, str(path), _extra_files={key: value.encode("ascii") for key, value in facts.items()})


def load_quietly(path: Any, keys: Sequence[str] = ()) -> tuple[torch.jit.ScriptModule, dict[str, str]]:
    """A scripted file as engines load it.

    Parameters
    ----------
    path : path-like
        The file.
    keys : sequence of str
        Names of extra files.

    Returns
    -------
    module : torch.jit.ScriptModule
        Frozen.
    facts : dict of str to str
        The extra files; empty for what is absent.
    """
    facts: dict[str, Any] = dict.fromkeys(keys, "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as file:
            module = torch.jit.load(io.BytesIO(file.read()), map_location="cpu", _extra_files=facts).eval()
        frozen = torch.jit.freeze(module) if hasattr(module, "training") else module
    return frozen, {key: value.decode() if isinstance(value, bytes) else value for key, value in facts.items()}


@contextmanager
def opened(
    path: str,
    structure: str | None,
    units: tuple[str | None, str | None] = (None, None),
    types: Sequence[int | str] | None = None,
    inputs: Mapping[str, int | float] | None = None,
    **more: Any,
) -> Iterator[ExportedModel]:
    """A model and a structure, ready to be exported.

    Parameters
    ----------
    path : str
        Model file or ``nequip.net:`` id.
    structure : str, optional
        Structure file; a crystal is made up if there is none.
    units : tuple of str or None
        The model's units of length and energy; those that its file states, else Å and eV, where None.
    types : sequence of int or str, optional
        Model type of each atom; by element if not given.
    inputs : mapping of str to number, optional
        What the model takes beside the structure; it is fixed in what is exported.
    more
        ``trusted``: SHA-256 that the model file must have; ``box`` and ``frame`` as of
        :func:`~openmm_nequip.app.structures.structure_files.read_structure`.

    Yields
    ------
    ExportedModel

    Raises
    ------
    ExportError
        If the model cannot be scripted, or is neither NequIP nor Allegro.
    ModelFileError, ModelInputError, StructureError, ValueError, ImportError
        If model or structure cannot be used.
    """
    source = locate(path, more.get("trusted"))
    place = more.get("box"), more.get("frame", -1)
    atoms = None if structure is None else read_structure(structure, *place, slabs=True)
    eager = Execution(device="cpu", compile=False, kernels="none", inputs=parse_inputs(inputs or {}))
    check_execution(source, eager)
    if source.kind != TORCHSCRIPT and not format_of(source.kind).can_compile:
        raise ExportError(
            f"{source.path} is a {source.kind} file, which holds machine code for one torch and one machine; export "
            "the .ckpt or .nequip.zip it came from"
        )
    stated = read_info(source)
    check_inputs(stated.inputs, eager.inputs, source.path)
    try:
        with scripted_form(source, eager.inputs) as scripted:
            content, family = scripted.read(), family_of(scripted)
            script = open_model(scripted, eager)
    except CompileError as error:
        raise ExportError(str(error)) from error
    if not family:
        raise ExportError(
            f"{source.path} is neither a NequIP nor an Allegro model; other models have exporters of their own "
            "(MACE: mace_create_lammps_model and its like)"
        )
    if not isinstance(script, TorchScriptModel):
        raise ExportError(f"{source.path} did not load as a scripted model but as {type(script).__name__}")
    reference = script if source.kind == TORCHSCRIPT else open_model(source, eager)
    info = script.info
    if info.cutoff is None:
        raise ExportError(f"{source.path} states no cutoff, and other engines hand over pairs within one")
    made_up, in_force = atoms is None, units_of(stated, *units)
    found = _made_up(script, in_force) if atoms is None else atoms.filled(info.cutoff * in_force.length)
    chosen: Any = types if types is not None or not made_up else sample_graph(script).types.tolist()
    indices = atom_types(info.type_names, list(found.topology.atoms()), chosen)
    yield ExportedModel(source, content, script, family, reference, in_force, found, made_up, indices, eager.inputs)


def _made_up(model: Model, units: Units) -> Structure:
    """A small crystal with every type of the model."""
    graph, topology = sample_graph(model), app.Topology()
    chain = topology.addChain()
    for kind in graph.types.tolist():
        name = model.info.type_names[kind]
        element = app.element.get_by_symbol(common_symbol(name)) if _is_element(name) else None
        topology.addAtom(name, element, topology.addResidue(name, chain))
    length = units.length
    return Structure("(made up)", topology, graph.positions.numpy() * length, graph.cell.numpy() * length)
