"""Frames of a file with the energies, forces and stresses that it states for them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm.app as app
import openmm.unit as unit

from ...errors import StructureError
from ...units import NM_PER_ANGSTROM, Units
from ..structures.ase_files import box_of_atoms, symbols_of
from ..structures.structure_files import Structure, read_structure

#: Formats of OpenMM's readers, which hold no energies.
_OPENMM_READERS = {
    ".pdb": app.PDBFile, ".ent": app.PDBFile, ".mmcif": app.PDBxFile, ".pdbx": app.PDBxFile, ".gro": app.GromacsGroFile,
}  # fmt: skip
#: Where ASE puts stresses with six components.
_VOIGT = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


#: Reference values beyond this, in any unit, are none: sums of their squares would overflow.
LARGEST = 1e30


@dataclass(frozen=True)
class ReferenceKeys:
    """Names of the reference values in a file, and their units.

    Parameters
    ----------
    energy, forces, stress : str
        Keys of an extended XYZ file or another that ASE reads.
    units : Units
        One unit of length and energy of the values; positions and cells are in Å in every such file.
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    units: Units = Units()


@dataclass(frozen=True, eq=False)
class LabelledFrame:
    """A frame and what its file says of it.

    Parameters
    ----------
    index : int
        Number of the frame in the file, from 0.
    structure : Structure
        Its atoms.
    energy : float or None
        kJ/mol.
    forces : numpy.ndarray, (n_atoms, 3) float64, or None
        kJ/mol/nm.
    stress : numpy.ndarray, (3, 3) float64, or None
        bar, positive under tension; None where nothing is periodic.
    info : dict
        Further values of the frame by name, such as ``config_type``.
    known : tuple of str
        Names of all values that the file has of the frame and its atoms.
    """

    index: int
    structure: Structure
    energy: float | None
    forces: np.ndarray | None
    stress: np.ndarray | None
    info: dict[str, Any]
    known: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether there is anything to compare with."""
        return not (self.energy is None and self.forces is None and self.stress is None)


def read_frames(
    path: str, wanted: str = ":", box: list[float] | None = None, keys: ReferenceKeys = ReferenceKeys()
) -> list[LabelledFrame]:
    """Frames of a file.

    Parameters
    ----------
    path : str
        Any structure file.
    wanted : str
        ``"all"`` or ``":"`` for all, ``"5"`` for one, ``"10:100:5"`` for a range as in Python.
    box : list of float, optional
        As in :func:`.structure_files.read_structure`, for all frames.
    keys : ReferenceKeys
        Where the reference values are.

    Returns
    -------
    list of LabelledFrame

    Raises
    ------
    StructureError
        If the file cannot be read, there are no such frames, or a reference value is damaged.
    ValueError
        If ``wanted`` is no range.
    """
    chosen = frame_range(wanted)
    suffix = Path(path).suffix.lower()
    first = read_structure(path, box, 0, slabs=True)
    frames = list(_by_openmm(first, suffix)) if suffix in _OPENMM_READERS else []
    if not frames:
        frames = list(_by_ase(first, box, keys))
    for option in ("energy", "forces", "stress"):
        name = getattr(keys, option)
        if name != getattr(ReferenceKeys, option) and not any(name in frame.known for frame in frames):
            named = ", ".join(sorted({known for frame in frames for known in frame.known})) or "no values"
            raise StructureError(
                f"--{option}-key {name!r}: no frame of {first.path} has it; its frames have {named}", first.path
            )
    found = frames[chosen]
    if not found:
        raise StructureError(f"structure file {first.path} has {len(frames)} frames, and --frames {wanted} is none of "
                             "them", first.path)  # fmt: skip
    return found


def frame_range(text: str) -> slice:
    """Which frames are meant: ``"all"`` or ``":"``, ``"5"``, ``"10:100:5"``.

    Raises
    ------
    ValueError
        If the text is no range.
    """
    try:
        if text == "all":
            return slice(None)
        parts = [int(part) if part.strip() else None for part in text.split(":")]
        if len(parts) == 1 and parts[0] is not None:
            return slice(parts[0], parts[0] + 1 or None)
        if 2 <= len(parts) <= 3 and parts[2:] != [0]:
            return slice(*parts)
    except ValueError:
        pass
    raise ValueError(f"frames {text!r}: give all, a number, or a range such as 10:100 or ::5")


def _by_openmm(first: Structure, suffix: str) -> Iterator[LabelledFrame]:
    """Frames of PDB, mmCIF and GRO files; none where OpenMM drops atoms that share a name."""
    file: Any = _OPENMM_READERS[suffix](first.path)
    for index in range(file.getNumFrames()):
        positions = np.array(file.getPositions(asNumpy=True, frame=index).value_in_unit(unit.nanometer))
        if positions.shape != first.positions_nm.shape:
            return
        box = first.box_nm
        if suffix == ".gro" and box is not None:
            box = np.array(file.getPeriodicBoxVectors(frame=index).value_in_unit(unit.nanometer))
        yield LabelledFrame(index, replace(first, positions_nm=positions, box_nm=box), None, None, None, {})


def _by_ase(first: Structure, box: list[float] | None, keys: ReferenceKeys) -> Iterator[LabelledFrame]:
    import ase.io

    last, symbols = first, first.symbols
    try:
        images = ase.io.read(first.path, index=":")
    except Exception as error:  # ASE's readers raise anything at all
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise StructureError(f"structure file {first.path} cannot be read to its end ({reason})", first.path) from error
    for index, atoms in enumerate(images):
        where = f"frame {index} of {first.path}"
        present = symbols_of(atoms)
        # The same topology serves all frames of one molecule: a model needs the elements only.
        if present != symbols:
            last, symbols = read_structure(first.path, box, index, slabs=True), present
        positions = atoms.positions * NM_PER_ANGSTROM
        if not np.isfinite(positions).all():
            raise StructureError(f"{where} has positions that are NaN or infinite", first.path)
        cell, directions = (first.box_nm, first.open_directions) if box is not None else box_of_atoms(atoms)
        positions = np.ascontiguousarray(positions)
        structure = replace(last, positions_nm=positions, box_nm=cell, open_directions=directions)
        labels = _labels(atoms, cell, keys, where)
        yield LabelledFrame(index, structure, *labels, dict(atoms.info), tuple(_stated(atoms)))


def _stated(atoms: Any) -> dict[str, Any]:
    """All that a file says of ASE's atoms, by name."""
    return dict(atoms.info) | dict(atoms.arrays) | ({} if atoms.calc is None else dict(atoms.calc.results))


def _labels(
    atoms: Any, box: np.ndarray | None, keys: ReferenceKeys, where: str
) -> tuple[float | None, np.ndarray | None, np.ndarray | None]:
    """Energy (kJ/mol), forces (n, 3) (kJ/mol/nm) and stress (3, 3) (bar) of ASE's atoms."""
    stated = _stated(atoms)
    energy = stated.get(keys.energy, stated.get("free_energy") if keys.energy == "energy" else None)
    forces, stress = stated.get(keys.forces), stated.get(keys.stress)
    if stress is None and keys.stress == "stress" and stated.get("virial") is not None and box is not None:
        stress = -_numbers(stated["virial"], None, where, "virial") / atoms.get_volume()
    units = keys.units
    if energy is not None:
        energy = float(_numbers(energy, (), where, keys.energy)) * units.energy
    if forces is not None:
        forces = _numbers(forces, (len(atoms), 3), where, keys.forces) * units.force
    if stress is None or box is None:
        return energy, forces, None
    stress = _numbers(stress, None, where, keys.stress)
    if stress.size not in (6, 9):
        raise StructureError(f"{where}: {keys.stress} has {stress.size} numbers, expected 6 or 9")
    tensor = stress.ravel()[np.array(_VOIGT)] if stress.size == 6 else stress.reshape(3, 3)
    return energy, forces, tensor * units.stress_bar


def _numbers(value: Any, shape: tuple[int, ...] | None, where: str, name: str) -> np.ndarray:
    """A reference value as finite numbers of a shape."""
    try:
        found = np.asarray(value, dtype=np.float64)
        found = found if shape is None else found.reshape(shape)
    except (TypeError, ValueError):
        raise StructureError(f"{where}: {name} is {str(value)[:60]!r}, expected numbers of shape {shape}") from None
    if not np.isfinite(found).all():
        raise StructureError(f"{where}: {name} is NaN or infinite; remove this frame, or its reference values")
    if found.size and np.abs(found).max() > LARGEST:
        raise StructureError(
            f"{where}: {name} is {np.abs(found).max():.3g}, and no reference value is larger than {LARGEST:g}; remove "
            "this frame, or name another value"
        )
    return found


def no_references(path: str, frames: list[LabelledFrame]) -> StructureError:
    """The error for a file without reference values.

    Parameters
    ----------
    path : str
        The file.
    frames : list of LabelledFrame
        Its frames.

    Returns
    -------
    StructureError
    """
    known = sorted({key for frame in frames for key in frame.info})
    return StructureError(
        f"{os.fspath(path)} has no reference energies, forces or stresses in its {len(frames)} frames (ASE's energy, "
        "forces and stress of an extended XYZ file, in eV and Å): name theirs with --energy-key, --forces-key and "
        f"--stress-key. Its frames have {', '.join(known) or 'no other values'}",
        os.fspath(path),
    )
