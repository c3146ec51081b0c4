"""Numbers and names of a GROMACS topology that OpenMM's reader would stumble over without saying where they stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .top_lines import TopLine

_RULES = ("1", "2", "3")
_PARTICLES = ("A", "N", "S", "B", "V", "D")
_ATOM_FIELDS = 5


def check_tables(tables: Iterable[tuple[str, TopLine]], atoms_of: Mapping[str, int]) -> set[str]:
    """Refuse lines of parameter tables that cannot be read.

    Parameters
    ----------
    tables : iterable of (str, TopLine)
        Lines with the names of their sections.
    atoms_of : mapping of str to int
        How many atom types a line of a section begins with.

    Returns
    -------
    set of str
        Names of the atom types.

    Raises
    ------
    EngineInputError
        With file and line.
    """
    names = set()
    for section, line in tables:
        fields = line.text.split()
        if section == "defaults":
            _check_defaults(line, fields)
        elif section == "atomtypes":
            names.add(_check_atom_type(line, fields))
        elif section in atoms_of:
            check_numbers(section, line, fields[atoms_of[section] + 1 :])
    return names


def check_atoms(lines: Sequence[TopLine], types: set[str]) -> None:
    """Refuse atoms of a molecule whose type there is not, or whose charge or mass is no number.

    Parameters
    ----------
    lines : sequence of TopLine
        Of ``[ atoms ]``.
    types : set of str
        As :func:`check_tables` gives them.

    Raises
    ------
    EngineInputError
        With file and line.
    """
    for line in lines:
        fields = line.text.split()
        if len(fields) < _ATOM_FIELDS:
            raise line.error(f"[ atoms ] has {len(fields)} fields here; number, type, residue and name are needed")
        if fields[1] not in types:
            raise line.error(f"[ atoms ] has an atom of type {fields[1]!r}, which is not in [ atomtypes ]")
        check_numbers("atoms", line, fields[6:8])


def check_numbers(section: str, line: TopLine, words: Sequence[str]) -> None:
    """Refuse parameters that are no numbers.

    Parameters
    ----------
    section : str
        Where they stand.
    line : TopLine
        The line.
    words : sequence of str
        The parameters.

    Raises
    ------
    EngineInputError
        With file and line.
    """
    for word in words:
        if not _is_number(word):
            raise line.error(f"[ {section} ] has {word!r} in place of a number; if this is a macro, define it")


def _check_defaults(line: TopLine, fields: Sequence[str]) -> None:
    if len(fields) not in (3, 5, 6):
        raise line.error(
            f"[ defaults ] has {len(fields)} fields; give nbfunc, comb-rule, gen-pairs, fudgeLJ and fudgeQQ"
        )
    if fields[0] != "1":
        raise line.error(f"[ defaults ] has nbfunc {fields[0]}; only Lennard-Jones (1) is done here")
    if fields[1] not in _RULES:
        raise line.error(f"[ defaults ] has comb-rule {fields[1]}; there are {', '.join(_RULES)}")
    check_numbers("defaults", line, fields[3:])


def _check_atom_type(line: TopLine, fields: Sequence[str]) -> str:
    """Name, perhaps bonded type and atomic number, mass, charge, particle type, two parameters."""
    kinds = [place for place in range(3, 6) if place < len(fields) and fields[place].upper() in _PARTICLES]
    place = kinds[-1] if kinds else 0
    if len(fields) < place + 3 or not place:
        raise line.error(
            "[ atomtypes ] needs a name, mass, charge, particle type (A, S, V or D) and two parameters; here is "
            f"{line.text!r}"
        )
    check_numbers("atomtypes", line, [*fields[place - 2 : place], *fields[place + 1 : place + 3]])
    return fields[0]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
