"""Elements of atoms from their names, where a file states none: ions, two-letter symbols, water, and doubt."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

import openmm.app as app

from ...errors import ElementDoubtError

logger = logging.getLogger(__name__)

#: Names of ions in the common force fields that are no chemical symbols.
_IONS = {
    "SOD": "Na", "CLA": "Cl", "POT": "K", "CAL": "Ca", "CES": "Cs", "RUB": "Rb", "LIT": "Li", "BAR": "Ba", "CAD": "Cd",
    "IOD": "I", "IODIDE": "I", "BRO": "Br", "FLU": "F", "CHL": "Cl", "ZN2": "Zn", "MAG": "Mg", "CIO": "Cs", "IB": "Br",
    "CIM": "Cl", "CIP": "Na",
}  # fmt: skip
#: Residues of single ions named by the atom.
_ION_RESIDUES = {"ION", "IONS", "MOL", "HET"}
_WATERS = {"SOL", "WAT", "HOH", "TIP", "TIP2", "TIP3", "TIP4", "TIP5", "TIP3P", "SPC", "SPCE", "H2O", "OPC", "T3P",
           "T4P", "TP3", "TP4", "TP5", "DOD"}  # fmt: skip
#: Residues whose names follow one letter an element, except for those in `_STANDARD_EXCEPTIONS`.
_STANDARD = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL MSE SEC ASH GLH CYX CYM HID HIE "
    "HIP HSD HSE HSP LYN ACE NME NMA NH2 NHE CT1 CT2 CT3 ACP CALA CARG NALA A C G U T I DA DC DG DT DI DU RA RC RG RU "
    "ADE CYT GUA URA THY HEM HEME POPC POPE DPPC DOPC DMPC".split()
)
_STANDARD_EXCEPTIONS = {("MSE", "SE"): "Se", ("SEC", "SE"): "Se", ("SEC", "SEG"): "Se", ("HEM", "FE"): "Fe",
                        ("HEME", "FE"): "Fe"}  # fmt: skip
_ONE_LETTER = frozenset("HBCNOFPSIKVWYU")
#: Two-letter symbols that a name of a larger molecule means by its first two letters.
_TWO_LETTERS = frozenset("CL BR SI SE FE ZN MG MN AL AS AU AG LI TI ZR GA GE RU RH RE TE MO".split())
#: Letters of places (alpha to eta, and so on) that stand behind an element in the names of larger molecules.
_IN_DOUBT = frozenset("CO CR CS CU NI OS PD PT SC SN SR SB BA BE BI IN IR NP PU YB".split())
_EXTRA = re.compile(r"(M|MW|MC|MN|EP|LP|VS|DUM)[A-Z]?\d*")


def guess_element(atom: str, residue: str, alone: bool) -> app.Element | None:
    """Element of an atom by its name.

    Parameters
    ----------
    atom, residue : str
        Names as in the file.
    alone : bool
        Whether it is the only atom of its residue.

    Returns
    -------
    openmm.app.Element or None
        None for virtual sites and other extra particles.

    Raises
    ------
    ElementDoubtError
        If the name may mean several elements, or none.
    """
    symbol = _symbol(atom, residue, alone)
    return None if symbol == "" else app.Element.getBySymbol(symbol)


def _symbol(atom: str, residue: str, alone: bool) -> str:
    """Symbol of the element, empty for an extra particle."""
    name = atom.strip().lstrip("0123456789'\"*").rstrip("+-*'\"")
    letters = re.match(r"[A-Za-z]*", name).group()  # type: ignore[union-attr]
    upper, group = letters.upper(), residue.strip().upper()
    bare_group = re.sub(r"[^A-Z]", "", group)
    if not letters:
        raise ElementDoubtError
    if alone:
        ion = _ion(name.upper(), upper, group, bare_group)
        if ion is not None:
            return ion
    if (group, name.upper()) in _STANDARD_EXCEPTIONS:
        return _STANDARD_EXCEPTIONS[group, name.upper()]
    if group in _WATERS:
        return upper[0] if upper[0] in "OHD" and upper[:2] != "DU" else ""
    if group in _STANDARD:
        return _one_letter(upper)
    if len(letters) > 1 and letters[0].isupper() and letters[1].islower() and _is_symbol(letters[:2]):
        return letters[:2]
    return _of_a_molecule(upper)


def _ion(name: str, upper: str, group: str, bare_group: str) -> str | None:
    """Symbol of a lone atom that is named as an ion, None if it is not."""
    for known in (name, upper, group):
        if known in _IONS:
            return _IONS[known]
    if (upper == bare_group or group in _ION_RESIDUES - {"MOL", "HET"}) and _is_symbol(upper.capitalize()):
        return upper.capitalize()
    if bare_group[:2] == upper[:2] and _is_symbol(upper[:2].capitalize()):
        return upper[:2].capitalize()
    return None


def _of_a_molecule(upper: str) -> str:
    """Symbol by a name in capitals in a molecule that nobody knows."""
    pair = upper[:2]
    if pair in _TWO_LETTERS:
        # PRODRG and others number atoms with letters: CLA may be a chlorine or the carbon behind CKA.
        if len(upper) > 2 and pair != "BR" and upper[0] in _ONE_LETTER:
            raise ElementDoubtError
        return pair.capitalize()
    if pair in _IN_DOUBT and len(upper) == 2:
        raise ElementDoubtError
    if upper[0] in _ONE_LETTER:
        return upper[0]
    if _EXTRA.fullmatch(upper):
        return ""
    raise ElementDoubtError


def _one_letter(upper: str) -> str:
    if upper[0] in "HCNOPS":
        return upper[0]
    if upper[0] == "D":
        return "H"
    if _EXTRA.fullmatch(upper):
        return ""
    raise ElementDoubtError


def _is_symbol(text: str) -> bool:
    try:
        app.Element.getBySymbol(text)
    except KeyError:
        return False
    return True


def guess_elements(
    path: str, atoms: Sequence[tuple[str, str, bool]], wanted: Iterable[bool] | None = None, needed: bool = True
) -> list[app.Element | None]:
    """Elements of atoms by their names; every guess is logged.

    Parameters
    ----------
    path : str
        The file, for messages.
    atoms : sequence of (str, str, bool)
        Name of the atom, name of its residue, and whether it is alone in it.
    wanted : iterable of bool, optional
        For which atoms; all by default. The others get None.
    needed : bool
        False if something else will tell the elements: what is in doubt is then None.

    Returns
    -------
    list of openmm.app.Element or None

    Raises
    ------
    ElementDoubtError
        With the names from which no element can be told, unless it is not `needed`.
    """
    chosen = [True] * len(atoms) if wanted is None else list(wanted)
    guesses: dict[tuple[str, str, bool], app.Element | None] = {}
    doubtful: dict[tuple[str, str, bool], None] = {}
    for key, asked in zip(atoms, chosen, strict=True):
        if asked and key not in guesses and key not in doubtful:
            try:
                guesses[key] = guess_element(*key)
            except ElementDoubtError:
                doubtful[key] = None
    if doubtful and needed:
        named = [f"{residue}:{atom}" for atom, residue, _ in doubtful]
        raise ElementDoubtError(
            f"it states no elements, and the names of {', '.join(named[:10])}{', ...' * (len(named) > 10)} do not "
            "tell them for sure; write the symbol with its second letter small in the name (Cl1, Co), or give a file "
            "with elements (PDB with columns 77 and 78, mmCIF)"
        )
    if guesses:
        shown = "; ".join(
            f"{residue}:{atom} is {'no atom' if element is None else element.symbol}"
            for (atom, residue, _), element in guesses.items()
        )
        logger.info("%s states no elements for these names, they are guessed: %s", path, shown)
    return [guesses.get(key) if asked else None for key, asked in zip(atoms, chosen, strict=True)]
