"""&NEQUIP, &ALLEGRO and &MACE of a CP2K input, in the dialects of all its releases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ...choices import FAMILIES
from ...errors import EngineInputError
from ...models import locate, read_info
from ...models.format import TORCHSCRIPT
from ...models.formats.torchscript import family_of
from .cp2k_files import find_file
from .cp2k_sections import Keyword, Section
from .cp2k_units import ENERGY, FORCE, LENGTH, CP2KUnit, energy_name, read_unit
from .translation import REPLACED, Translation

_SECTIONS = ("NEQUIP", "ALLEGRO", "MACE")
#: Names of CP2K's units as settings have them.
_LENGTH_NAMES = {"angstrom": "angstrom", "bohr": "bohr", "au_l": "bohr", "nm": "nm"}
_ENERGY_NAMES = {"ev": "eV", "hartree": "hartree", "au_e": "hartree", "kcalmol": "kcal/mol", "kjmol": "kJ/mol"}
#: Forces may be off from energy and length by no more than the digits of the constants.
_SAME_UNIT = 1e-9


@dataclass(frozen=True)
class CP2KModel:
    """What the section of a model says.

    Parameters
    ----------
    section : Section
        Where it stands.
    kinds : tuple of str
        Kinds of atoms, as ATOMS lists them.
    type_names : tuple of str
        The model's types.
    energy, length : CP2KUnit
        The model's units.
    """

    section: Section
    kinds: tuple[str, ...]
    type_names: tuple[str, ...]
    energy: CP2KUnit
    length: CP2KUnit


def read_model(nonbonded: Section, folder: Path, forces: str, result: Translation) -> CP2KModel:
    """Read the one section of a model.

    Parameters
    ----------
    nonbonded : Section
        &NONBONDED.
    folder : pathlib.Path
        The run folder.
    forces : str
        ``"energy"`` where UNIT_FORCES is to follow from energy and length, whatever it says.
    result : Translation
        Gets ``model`` and ``units``.

    Returns
    -------
    CP2KModel

    Raises
    ------
    EngineInputError
        If there is no such section, or several, or something in it is wrong.
    """
    found = nonbonded.open_all(*_SECTIONS)
    if not found:
        raise nonbonded.error("a section &NEQUIP, &ALLEGRO or &MACE is missing: only such models are run here")
    if len(found) > 1:
        raise found[1].error(f"a second model; the first is at {found[0].place}, and one potential is run at a time")
    section = found[0]
    file = _take_file(section, folder, result)
    energy, length = _read_units(section, forces, result)
    try:
        info = read_info(locate(file))
    except ValueError as error:
        raise section.error(str(error)) from error
    return CP2KModel(section, _read_kinds(section, result), tuple(info.type_names), energy, length)


def _take_file(section: Section, folder: Path, result: Translation) -> str:
    """The model file, and the model's type where the newer dialect wants it."""
    newer = section.take("POT_FILE_NAME", "MODEL_FILE_NAME")
    older = section.take("PARM_FILE_NAME", "PARMFILE")
    if newer is not None and older is not None:
        raise older.error(f"the model file is already named at {newer.place}; give it once")
    keyword = newer or older
    if keyword is None:
        raise section.error("POT_FILE_NAME (in older releases PARM_FILE_NAME) is missing: which model file?")
    path = find_file(keyword, folder, data=True)
    result.set("model", path, keyword.path, keyword.text, keyword.place)
    kind = section.take("MODEL_TYPE", "MODEL") if section.name == "NEQUIP" else None
    if kind is not None:
        _compare_family(kind, path, result)
        result.note(REPLACED, kind.path, kind.text, kind.place, became="the model file", why="it tells by itself")
    elif newer is not None and section.name == "NEQUIP":
        raise section.error("MODEL_TYPE is missing; with POT_FILE_NAME give MODEL_TYPE NEQUIP or ALLEGRO")
    return path


def _compare_family(kind: Keyword, path: str, result: Translation) -> None:
    """Warn where the file holds a model of the other family: CP2K would hand it what it does not take."""
    stated = kind.choice(family.upper() for family in FAMILIES)
    try:
        source = locate(path)
        family = family_of(source) if source.kind == TORCHSCRIPT else ""
    except ValueError:
        return  # the file's own error is told where it is read
    if family and family.upper() != stated:
        result.warnings.append(
            f"{kind.place}: MODEL_TYPE {stated}, and {path} is a model of {family}; CP2K would hand it what it does "
            "not take. It runs here as what it is: correct the input"
        )


def _read_kinds(section: Section, result: Translation) -> tuple[str, ...]:
    """Kinds of ATOMS, in which order does not matter here."""
    keyword = section.take("ATOMS")
    if keyword is None or not keyword.text.split():
        raise section.error("ATOMS is missing: which kinds of atoms does the model describe?")
    kinds = tuple(word.strip("\"'") for word in keyword.text.split())
    twice = {kind for kind in kinds if kinds.count(kind) > 1}
    if twice:
        raise keyword.error(f"{', '.join(sorted(twice))} is listed twice")
    result.note(
        REPLACED, keyword.path, keyword.text, keyword.place, became="types of the model by the name of element or kind",
        why="their order does not matter here",
    )  # fmt: skip
    return kinds


def _read_units(section: Section, forces: str, result: Translation) -> tuple[CP2KUnit, CP2KUnit]:
    """Units of energy and length, after a look at those of forces."""
    if section.name == "MACE":
        blank = Keyword("", "", section.place, section)
        return read_unit("eV", blank, ENERGY), read_unit("angstrom", blank, LENGTH)
    length, length_word = _read_length(section)
    keyword = section.take("UNIT_ENERGY")
    blank = Keyword("UNIT_ENERGY", "eV", section.place, section)
    energy = read_unit((keyword or blank).word(), keyword or blank, ENERGY)
    force = section.take("UNIT_FORCES")
    if force is not None:
        _check_force(force, energy, length, forces, result)
    names = _LENGTH_NAMES.get(length.text.lower()), _ENERGY_NAMES.get(energy.text.lower())
    for name, unit, word in ((names[0], length, length_word), (names[1], energy, keyword)):
        if name is None:
            raise (word or section).error(
                f"a model in {unit.text} is not run here; units of length are {', '.join(_LENGTH_NAMES)}, of energy "
                f"{', '.join(_ENERGY_NAMES)}"
            )
    written = ", ".join(f"{k.name} {k.text}" for k in (length_word, keyword, force) if k is not None)
    place = (keyword or length_word or blank).place
    result.set("units", names, f"{section.path}/units", written or "of CP2K's defaults", place)
    return energy, length


def _read_length(section: Section) -> tuple[CP2KUnit, Keyword | None]:
    """Unit of positions, which older releases name apart from that of the cell."""
    found = [k for k in (section.take("UNIT_LENGTH", "UNIT_COORDS"), section.take("UNIT_CELL")) if k is not None]
    if not found:
        return read_unit("angstrom", Keyword("UNIT_LENGTH", "angstrom", section.place, section), LENGTH), None
    units = [read_unit(k.word(), k, LENGTH) for k in found]
    if len(found) == 1 and found[0].name == "UNIT_CELL":
        units.append(read_unit("angstrom", found[0], LENGTH))  # positions have their default
    if not math.isclose(units[0].factor, units[-1].factor, rel_tol=_SAME_UNIT):
        raise found[-1].error(
            f"positions are in {units[0].text if len(found) > 1 else 'angstrom'} and the cell in {found[-1].text}: a "
            "model has one unit of length; correct one of them"
        )
    return units[0], found[0]


def _check_force(
    keyword: Keyword, energy: CP2KUnit, length: CP2KUnit, forces: str, result: Translation
) -> None:
    """Refuse a unit of forces that does not follow from energy and length, unless it is not to count."""
    stated = read_unit(keyword.word(), keyword, FORCE)
    ratio = stated.factor / (energy.factor / length.factor)
    if math.isclose(ratio, 1.0, rel_tol=_SAME_UNIT):
        return
    follows = f"{energy.text}*{length.text}^-1"
    if forces == "energy":
        result.warnings.append(
            f"{keyword.place}: UNIT_FORCES {stated.text} is not {follows}: forces are those of the energy"
        )
        result.note(REPLACED, keyword.path, keyword.text, keyword.place, became=follows,
                    why="asked for: forces follow from energy and length")  # fmt: skip
        return
    other = energy_name(stated.factor * length.factor)
    raise EngineInputError(
        f"{keyword.path} {keyword.text}: the unit of forces does not follow from those of energy and length. "
        f"Reading 1: the model's energy is in {energy.text}, so its forces are in {follows}, and {stated.text} is "
        f"wrong by a factor of {ratio:.6g}. Reading 2: its forces are in {stated.text}, so its energy is in "
        f"{other}, and UNIT_ENERGY {energy.text} is wrong. CP2K takes both as they are, and then moves atoms by forces "
        "that are not those of its energy. Correct the one that is wrong, or give --cp2k-forces energy "
        '(read_cp2k(..., forces="energy")) for reading 1',
        keyword.place.path, keyword.place.line,
    )  # fmt: skip
