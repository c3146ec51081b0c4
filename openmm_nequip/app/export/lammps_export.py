"""Files for LAMMPS: a model for pair_nequip, pair_allegro or ML-IAP, a data file and an input script in units metal.

References
----------
``pair_nequip_allegro.cpp`` of mir-group/pair_nequip_allegro: metadata, tensors and their dtype, and which of them a
``.nequip.pt2`` file takes and gives. pair_nequip hands over the local atoms with a cell and whole shifts, and wants
``newton off``; pair_allegro hands over local and ghost atoms without either, and wants ``newton on``. Both sum the
atomic energies of the local atoms.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ...cache import private_folder
from ...choices import FAMILIES
from ...crystal import reduce_box
from ...errors import CompileError, ExportError
from ...graph.fields import CELL, SHIFTS, model_inputs
from ...models import parse_device
from ...models.compiling.aot import cached_package
from ...models.format import CHECKPOINT, PACKAGE
from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...upstream.inductor import load_package
from ...upstream.nequip_state import default_dtype, preserved_global_state
from .engine_graph import EngineEdges
from .export_command import FORMS
from .exported_model import ExportedModel, load_quietly, save_quietly
from .lammps_structure import LammpsData, PlacedAtoms, data_text, read_data, with_images
from .mliap_export import write_mliap

DATA, SCRIPT = "structure.data", "in.lammps"
TORCHSCRIPT, AOTINDUCTOR, MLIAP = FORMS
ALLEGRO = FAMILIES[1]
_METADATA = ("r_max", "per_edge_type_cutoff", "type_names", "num_types", "allow_tf32")
_BUILT_IN = "LAMMPS needs pair_nequip_allegro (github.com/mir-group/pair_nequip_allegro) built in"


class LoadedModel(NamedTuple):
    """A file as LAMMPS' pair styles have it."""

    evaluate: Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]
    facts: Mapping[str, str]  #: its metadata


def export_lammps(
    model: ExportedModel, folder: Path, form: str = TORCHSCRIPT, device: str | None = None
) -> dict[str, Any]:
    """Write a model, a data file and an input script, and check the model with the tensors that LAMMPS makes of them.

    Parameters
    ----------
    model : ExportedModel
        The model and the structure. TorchScript files convert models in other units than Å and eV.
    folder : pathlib.Path
        Where.
    form : str
        One of :data:`.export_command.FORMS`, which has the file's name, by whose end pair styles know it.
    device : str, optional
        What ``aotinductor`` is compiled for: the CPU by default.

    Returns
    -------
    dict
        ``differences`` and ``notes``.

    Raises
    ------
    ExportError
        If an atom has no mass, the model cannot be had in this form, or the file does not give the model's numbers.
    """
    present = sorted(set(model.types.tolist()))
    names = [model.names[kind] for kind in present]
    periodic = model.structure.box_nm is not None
    rotation = np.eye(3) if model.structure.box_nm is None else reduce_box(model.structure.box_nm)[1]
    (folder / DATA).write_text(data_text(model, present, rotation), encoding="utf-8")
    (folder / SCRIPT).write_text(_script(model, names, form), encoding="utf-8")
    data = read_data((folder / DATA).read_text(encoding="utf-8"))
    path = folder / FORMS[form]
    if form == MLIAP:
        _require_whole(model, form)
        if model.inputs:
            raise ExportError("ML-IAP hands a model atoms alone, and this one takes inputs beside them")
        atoms = PlacedAtoms(data, np.array(present)[data.types - 1], rotation, periodic)
        answer, notes = write_mliap(model, path, atoms), list(_MLIAP_NOTES)
    else:
        write = write_script if form == TORCHSCRIPT else _write_compiled
        loaded, notes = write(model, path, device)
        known = loaded.facts["type_names"].split()
        atoms = PlacedAtoms(data, np.array([known.index(names[kind - 1]) for kind in data.types]), rotation, periodic)
        answer = _pair_answer(loaded, atoms, model.family == ALLEGRO)
        if model.family != ALLEGRO:
            notes.append("pair_nequip runs on one rank; Allegro runs on many")
    found = atoms.compare(model, *answer)
    if "virial" not in model.script.info.outputs:
        notes.append("the model gives no virial: pressures are wrong and fix npt cannot be used")
    if not np.allclose(rotation, np.eye(3)):
        notes.append("the box was rotated into LAMMPS' form, and the atoms with it")
    return {"differences": found, "notes": notes}


_MLIAP_NOTES = (
    "LAMMPS needs ML-IAP with Python and KOKKOS, and nequip in that Python; run it as `lmp -k on g 1 -sf kk -pk kokkos "
    "newton on neigh half -in in.lammps`",
    "checked as the file evaluates the model before LAMMPS' first step compiles it",
)


def _require_whole(model: ExportedModel, form: str) -> None:
    """Refuse what cannot be compiled, and units that nothing converts."""
    if model.source.kind not in (CHECKPOINT, PACKAGE):
        raise ExportError(
            f"{model.source.path} is a {model.source.kind} file, and form {form} is made of the .ckpt or .nequip.zip "
            "it came from; give that file, or take --form torchscript"
        )
    given, metal = [model.units.length, model.units.energy], [NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV]
    if not np.allclose(given, metal, rtol=1e-9, atol=0):
        raise ExportError(
            f"the model is in {model.units.describe()}, and LAMMPS' units metal are Å and eV; form {form} cannot "
            "convert them, --form torchscript does"
        )


def _script(model: ExportedModel, names: list[str], form: str) -> str:
    style = model.family.lower()
    boundary = "f f f" if model.structure.box_nm is None else "p p p"
    pair = [f"pair_style   {style}", f"pair_coeff   * * {FORMS[form]} {' '.join(names)}"]
    if form == MLIAP:
        pair = [f"pair_style   mliap unified {FORMS[form]} 0", f"pair_coeff   * * {' '.join(names)}"]
    return "\n".join([
        f"# {model.family} model {Path(model.source.path).name} (SHA-256 {model.source.sha256})",
        "units        metal", "atom_style   atomic", "atom_modify  map yes",
        f"newton       {'off' if style == 'nequip' and form != MLIAP else 'on'}",
        f"boundary     {boundary}", f"read_data    {DATA}", "",
        *pair, "",
        "thermo_style custom step pe ke temp press", "thermo_modify format float %.12g",
        "timestep     0.0005", "run          0", "",
        "# Dynamics: 300 K, 0.5 fs", "# velocity     all create 300 1", "# fix          1 all nvt temp 300 300 0.05",
        "# run          1000", "",
    ])  # fmt: skip


def write_script(model: ExportedModel, path: Path, device: str | None = None) -> tuple[LoadedModel, list[str]]:
    """Write a TorchScript file for pair_nequip or pair_allegro.

    Parameters
    ----------
    model : ExportedModel
        The model; other units than Å and eV are converted inside the file.
    path : pathlib.Path
        File to write, ending in ``.nequip.pth``.
    device : str, optional
        Means nothing here: LAMMPS says where such a file runs.

    Returns
    -------
    loaded : LoadedModel
        The file, read back.
    notes : list of str
    """
    kinds = range(len(model.names))
    if model.speaks(NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV):
        path.write_bytes(model.content)
    else:
        adapted = model.adapted(kinds, NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV)
        save_quietly(adapted, path, model.metadata(kinds, NM_PER_ANGSTROM))
    module, facts = load_quietly(path, _METADATA)
    return LoadedModel(module, facts), [_BUILT_IN]


def _write_compiled(model: ExportedModel, path: Path, device: str | None) -> tuple[LoadedModel, list[str]]:
    """Write an AOTInductor file for pair_nequip or pair_allegro, from the cache if it is there, and read it back."""
    _require_whole(model, AOTINDUCTOR)
    place = parse_device(device) or torch.device("cpu")
    target = f"pair_{model.family.lower()}"
    try:
        made = cached_package(model.source, place, inputs=model.inputs, target=target)
    except CompileError as error:
        raise ExportError(str(error)) from error
    path.write_bytes(made.read_bytes())
    with preserved_global_state(), private_folder() as folder:  # torch unpacks it beside itself
        package = load_package(str(shutil.copy(str(path), str(folder))), place, False)
    facts = {name: str(value) for name, value in package.get_metadata().items()}
    given, taken = facts["nequip_aoti_outputs"].split(), facts["nequip_aoti_inputs"].split()

    def evaluate(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values = package(*[tensors[name].contiguous().to(place) for name in taken])
        return {name: value.cpu() for name, value in zip(given, values, strict=True)}

    notes = [
        f"{_BUILT_IN} with NEQUIP_AOT_COMPILE, on torch {torch.__version__.partition('+')[0]} and a machine like this",
        f"compiled for {place.type}: `--device` says for what else",
    ]
    return LoadedModel(evaluate, facts), notes


def pair_tensors(
    data: LammpsData, mapper: np.ndarray, edges: EngineEdges, ghosts: bool
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """What LAMMPS' pair styles hand over.

    Parameters
    ----------
    data : LammpsData
        The atoms.
    mapper : numpy.ndarray, (n_atoms,) int64
        Model type of each atom.
    edges : EngineEdges
        Edges of the local atoms.
    ghosts : bool
        Whether images are atoms of their own, as for pair_allegro.

    Returns
    -------
    tensors : dict of str to torch.Tensor
    owners : numpy.ndarray, (n_all,) int64
        The local atom that each atom is or is an image of.
    """
    owners, neighbors, positions = np.arange(len(data.positions)), edges.index[1], data.positions
    if ghosts:
        positions, owners, neighbors = with_images(data, edges)
    index = np.array([edges.index[0], neighbors])
    arrays = positions.copy(), mapper[owners], index, edges.shifts.copy(), data.cell.copy()
    tensors = model_inputs(*map(torch.from_numpy, arrays))
    if ghosts:
        del tensors[SHIFTS], tensors[CELL]
    return tensors, owners


def _pair_answer(loaded: LoadedModel, atoms: PlacedAtoms, ghosts: bool) -> tuple[float, np.ndarray]:
    """Energy in eV and forces (n_atoms, 3) in eV/Å that a pair style makes of a file."""
    facts, data = loaded.facts, atoms.data
    names = facts["type_names"].split()
    if int(facts.get("num_types") or 0) != len(names) or facts.get("allow_tf32") not in ("0", "1"):
        raise ExportError("the file for LAMMPS lacks num_types or allow_tf32, without which its pair styles stop")
    cutoffs = np.full((len(names),) * 2, float(facts["r_max"]))
    if facts.get("per_edge_type_cutoff"):
        cutoffs = np.array(facts["per_edge_type_cutoff"].split(), dtype=np.float64).reshape(cutoffs.shape)
    tensors, owners = pair_tensors(data, atoms.types, atoms.edges(float(facts["r_max"]), cutoffs), ghosts)
    with default_dtype(torch.float64):
        out = loaded.evaluate(tensors)
    for name in ("forces", "atomic_energy"):
        if name not in out or out[name].dtype != torch.float64:
            raise ExportError(f"the file for LAMMPS gives no {name} in float64, which its pair styles read")
    forces = np.zeros((len(data.positions), 3))
    given = out["forces"].detach().numpy()
    # Forces on ghosts go back to the atoms they are images of.
    np.add.at(forces, owners[: len(given)], given)
    return float(out["atomic_energy"][: len(data.positions)].detach().sum()), forces
