"""A TorchScript file for LAMMPS' pair_nequip or pair_allegro, with a data file and an input script in units metal.

References
----------
``pair_nequip_allegro.cpp`` of mir-group/pair_nequip_allegro: metadata, tensors and their dtype. pair_nequip hands over
the local atoms with a cell and whole shifts, and wants ``newton off``; pair_allegro hands over local and ghost atoms
without either, and wants ``newton on``. Both sum the atomic energies of the local atoms.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm.unit as unit
import torch

from ...choices import FAMILIES
from ...crystal import reduce_box
from ...errors import ExportError
from ...graph.fields import CELL, SHIFTS, model_inputs
from ...units import KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ...upstream.nequip_state import default_dtype
from .engine_graph import OPEN_SPACE, EngineEdges, compare, find_edges
from .exported_model import ExportedModel, load_quietly, save_quietly

MODEL, DATA, SCRIPT = "model.nequip.pth", "structure.data", "in.lammps"
ALLEGRO = FAMILIES[1]
_METADATA = ("r_max", "per_edge_type_cutoff", "type_names", "num_types", "allow_tf32")


class LammpsData(NamedTuple):
    """What a data file says, in Å.

    Parameters
    ----------
    positions : numpy.ndarray, (n_atoms, 3) float64
        In the order of the atoms' numbers.
    types : numpy.ndarray, (n_atoms,) int64
        LAMMPS' types, from 1.
    cell : numpy.ndarray, (3, 3) float64
        Rows are the box vectors, lower triangular.
    """

    positions: np.ndarray
    types: np.ndarray
    cell: np.ndarray


def export_lammps(model: ExportedModel, folder: Path) -> dict[str, Any]:
    """Write a model, a data file and an input script, and check the model with the tensors that LAMMPS makes of them.

    Parameters
    ----------
    model : ExportedModel
        The model and the structure. Models in other units than Å and eV are converted inside the file.
    folder : pathlib.Path
        Where.

    Returns
    -------
    dict
        ``differences`` and ``notes``.

    Raises
    ------
    ExportError
        If an atom has no mass, or the file does not give the model's numbers.
    """
    kinds = range(len(model.names))
    if model.speaks(NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV):
        (folder / MODEL).write_bytes(model.content)
    else:
        adapted = model.adapted(kinds, NM_PER_ANGSTROM, KJ_PER_MOL_PER_EV)
        save_quietly(adapted, folder / MODEL, model.metadata(kinds, NM_PER_ANGSTROM))
    present = sorted(set(model.types.tolist()))
    rotation = np.eye(3) if model.structure.box_nm is None else reduce_box(model.structure.box_nm)[1]
    (folder / DATA).write_text(_data(model, present, rotation), encoding="utf-8")
    (folder / SCRIPT).write_text(_script(model, [model.names[t] for t in present]), encoding="utf-8")
    found = _check(model, folder, present, rotation)
    notes = ["LAMMPS needs pair_nequip_allegro (github.com/mir-group/pair_nequip_allegro) built in"]
    if model.family != ALLEGRO:
        notes.append("pair_nequip runs on one rank; Allegro runs on many")
    if "virial" not in model.script.info.outputs:
        notes.append("the model gives no virial: pressures are wrong and fix npt cannot be used")
    if not np.allclose(rotation, np.eye(3)):
        notes.append("the box was rotated into LAMMPS' form, and the atoms with it")
    return {"differences": found, "notes": notes}


def _box(model: ExportedModel) -> tuple[np.ndarray, np.ndarray]:
    """Box (3, 3) in Å and where its corner lies (3,)."""
    structure = model.structure
    if structure.box_nm is not None:
        return reduce_box(structure.box_nm)[0] / NM_PER_ANGSTROM, np.zeros(3)
    space = OPEN_SPACE * model.script.info.reach * model.units.length
    low, high = structure.positions_nm.min(axis=0) - space, structure.positions_nm.max(axis=0) + space
    return np.diag(high - low) / NM_PER_ANGSTROM, low / NM_PER_ANGSTROM


def _data(model: ExportedModel, present: list[int], rotation: np.ndarray) -> str:
    structure = model.structure
    cell, corner = _box(model)
    positions = structure.positions_nm @ rotation.T / NM_PER_ANGSTROM
    if structure.box_nm is not None:
        positions = positions - np.floor(positions @ np.linalg.inv(cell)) @ cell
    masses: dict[int, float] = {}
    for kind, atom in zip(model.types.tolist(), structure.topology.atoms(), strict=True):
        mass = None if atom.element is None else atom.element.mass.value_in_unit(unit.dalton)
        if mass is None:
            raise ExportError(f"the atoms of type {model.names[kind]!r} have no element, and LAMMPS needs their mass")
        masses.setdefault(kind, mass)
    symbols = [model.names[kind] for kind in present]
    lines = [
        f"{Path(structure.path).name} for the model {Path(model.source.path).name}",
        "", f"{len(positions)} atoms", f"{len(present)} atom types", "",
        *(f"{corner[k]:.15g} {corner[k] + cell[k, k]:.15g} {'xyz'[k]}lo {'xyz'[k]}hi" for k in range(3)),
    ]  # fmt: skip
    if np.abs(cell - np.diag(np.diag(cell))).max() > 0:
        lines.append(f"{cell[1, 0]:.15g} {cell[2, 0]:.15g} {cell[2, 1]:.15g} xy xz yz")
    lines += ["", "Masses", ""]
    named = zip(present, symbols, strict=True)
    lines += [f"{n} {masses[kind]:.9g}  # {name}" for n, (kind, name) in enumerate(named, 1)]
    lines += ["", "Atoms  # atomic", ""]
    places = {kind: n for n, kind in enumerate(present, 1)}
    for n, (kind, place) in enumerate(zip(model.types.tolist(), positions, strict=True), 1):
        lines.append(f"{n} {places[kind]} " + " ".join(f"{x:.15g}" for x in place))
    return "\n".join(lines) + "\n"


def _script(model: ExportedModel, names: list[str]) -> str:
    style = model.family.lower()
    boundary = "f f f" if model.structure.box_nm is None else "p p p"
    return "\n".join([
        f"# {model.family} model {Path(model.source.path).name} (SHA-256 {model.source.sha256})",
        "units        metal", "atom_style   atomic", "atom_modify  map yes",
        f"newton       {'off' if style == 'nequip' else 'on'}",
        f"boundary     {boundary}", f"read_data    {DATA}", "",
        f"pair_style   {style}", f"pair_coeff   * * {MODEL} {' '.join(names)}", "",
        "thermo_style custom step pe ke temp press", "thermo_modify format float %.12g",
        "timestep     0.0005", "run          0", "",
        "# Dynamics: 300 K, 0.5 fs", "# velocity     all create 300 1", "# fix          1 all nvt temp 300 300 0.05",
        "# run          1000", "",
    ])  # fmt: skip


def read_data(text: str) -> LammpsData:
    """A data file of :func:`export_lammps` as LAMMPS reads it.

    Parameters
    ----------
    text : str
        Its text.

    Returns
    -------
    LammpsData
    """
    head, _, atoms = text.partition("Atoms  # atomic")
    cell = np.zeros((3, 3))
    for line in head.splitlines():
        words = line.split()
        for k, axis in enumerate("xyz"):
            if words[2:] == [f"{axis}lo", f"{axis}hi"]:
                cell[k, k] = float(words[1]) - float(words[0])
        if words[3:] == ["xy", "xz", "yz"]:
            cell[1, 0], cell[2, 0], cell[2, 1] = map(float, words[:3])
    rows = sorted([line.split() for line in atoms.splitlines() if line.strip()], key=lambda row: int(row[0]))
    places = np.array([row[2:] for row in rows], dtype=np.float64)
    return LammpsData(places, np.array([row[1] for row in rows], dtype=np.int64), cell)


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
    n = len(data.positions)
    owners, centre, neighbor = np.arange(n), edges.index[0], edges.index[1].copy()
    positions = data.positions
    if ghosts:
        crossing = np.flatnonzero(edges.shifts.any(axis=1))
        images = np.concatenate([edges.index[1][crossing, None], np.rint(edges.shifts[crossing])], axis=1)
        unique, inverse = np.unique(images.astype(np.int64), axis=0, return_inverse=True)
        neighbor[crossing] = n + inverse.ravel()
        owners = np.concatenate([owners, unique[:, 0]])
        positions = np.concatenate([positions, data.positions[unique[:, 0]] + unique[:, 1:] @ data.cell])
    arrays = positions.copy(), mapper[owners], np.array([centre, neighbor]), edges.shifts.copy(), data.cell.copy()
    tensors = model_inputs(*map(torch.from_numpy, arrays))
    if ghosts:
        del tensors[SHIFTS], tensors[CELL]
    return tensors, owners


def _check(model: ExportedModel, folder: Path, present: list[int], rotation: np.ndarray) -> dict[str, float]:
    """The file's answer to LAMMPS' tensors, all read back, against the model's."""
    module, facts = load_quietly(folder / MODEL, _METADATA)
    data = read_data((folder / DATA).read_text(encoding="utf-8"))
    names, known = facts["type_names"].split(), [model.names[t] for t in present]
    if int(facts["num_types"] or 0) != len(names) or facts["allow_tf32"] not in ("0", "1"):
        raise ExportError("the file for LAMMPS lacks num_types or allow_tf32, without which its pair styles stop")
    mapper = np.array([names.index(known[kind - 1]) for kind in data.types], dtype=np.int64)
    cutoffs = np.full((len(names),) * 2, float(facts["r_max"]))
    if facts["per_edge_type_cutoff"]:
        cutoffs = np.array(facts["per_edge_type_cutoff"].split(), dtype=np.float64).reshape(cutoffs.shape)
    periodic = model.structure.box_nm is not None
    edges = find_edges(data.positions, data.cell if periodic else None, float(facts["r_max"]), mapper, cutoffs)
    tensors, owners = pair_tensors(data, mapper, edges, model.family == ALLEGRO)
    with default_dtype(torch.float64):
        out = module(tensors)
    for name in ("forces", "atomic_energy"):
        if name not in out or out[name].dtype != torch.float64:
            raise ExportError(f"the file for LAMMPS gives no {name} in float64, which its pair styles read")
    n = len(data.positions)
    forces = np.zeros((n, 3))
    given = out["forces"].detach().numpy()
    # Forces on ghosts go back to the atoms they are images of.
    np.add.at(forces, owners[: len(given)], given)
    energy = float(out["atomic_energy"][:n].detach().sum()) * KJ_PER_MOL_PER_EV
    back = data.positions @ rotation * NM_PER_ANGSTROM
    box = _box_of(data, rotation) if periodic else None
    right = model.answer(replace(model.structure, positions_nm=back, box_nm=box))
    found = (forces @ rotation) * (KJ_PER_MOL_PER_EV / NM_PER_ANGSTROM)
    return compare("LAMMPS", (energy, right.energy), (found, right.forces), model.script.info.dtype)


def _box_of(data: LammpsData, rotation: np.ndarray) -> np.ndarray:
    """The box of a data file (3, 3) in nm, in the frame of the structure."""
    return data.cell @ rotation * NM_PER_ANGSTROM
