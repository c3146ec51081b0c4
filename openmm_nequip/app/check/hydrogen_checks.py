"""Whether atoms have the hydrogens and other neighbours that they should have."""

from __future__ import annotations

from collections.abc import Iterator

import openmm
import openmm.unit as unit

from .bond_vectors import BondVectors
from .checked_system import CheckedSystem
from .verdict import LOOK, OK, STOP, CheckVerdict

#: Sum of the three angles at an atom in a plane is 360 degrees, at one with a fourth neighbour 329.
_PLANE = 345.0
_LINE = 160.0
#: Most neighbours of an atom in a closed-shell molecule.
_MOST = {"H": 1, "C": 4, "N": 4, "O": 3, "F": 1}
#: A double bond of N ends at 0.130 nm (imines 0.128; amides have 0.134, amines 0.147), a triple one at 0.120.
_N_DOUBLE_NM, _N_TRIPLE_NM = 0.1305, 0.120
#: C-O of one neighbour: carbonyls 0.121, carboxylates 0.126, phenolates 0.127; alcohols have 0.143. Lengths:
#: F. H. Allen et al., J. Chem. Soc. Perkin Trans. 2 1987, S1.
_O_DOUBLE_NM = 0.134
_WHOLE_CHARGE = 0.05
_MOST_NAMED = 5
_CURE = "Add hydrogens (OpenMM's Modeller.addHydrogens, PDBFixer), or look at the structure"


def check_hydrogens(subject: CheckedSystem, bonds: BondVectors, names: list[str], caps: int) -> CheckVerdict:
    """Atoms with too many neighbours, atoms whose geometry has room for another one, and electrons without a partner.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.
    bonds : BondVectors
        Bonds of its structure.
    names : list of str
        Name of each atom of the structure.
    caps : int
        Hydrogens that close the bonds of a region.

    Returns
    -------
    CheckVerdict
    """
    symbols = subject.setup.structure.symbols
    if not any(bonds.near):
        return CheckVerdict("hydrogens", OK, "no molecules: a crystal, a metal, or atoms")
    wrong: list[tuple[str, str]] = []
    for atom in subject.atoms.tolist():
        wrong += [(level, f"{names[atom]} {text}") for level, text in _of_atom(atom, symbols, bonds)]
    odd = _odd_electrons(subject, caps)
    if not wrong and odd is None:
        return CheckVerdict("hydrogens", OK, "every atom has the neighbours that it should have")
    more = [f"{len(wrong) - _MOST_NAMED} more"] if len(wrong) > _MOST_NAMED else []
    text = "; ".join([each for _, each in wrong[:_MOST_NAMED]] + more + ([odd] if odd else []))
    level = STOP if any(each == STOP for each, _ in wrong) and not subject.config.reactive else LOOK
    return CheckVerdict("hydrogens", level, f"{text}. {_CURE}", float(len(wrong)), 0.0)


def _of_atom(atom: int, symbols: list[str], bonds: BondVectors) -> Iterator[tuple[str, str]]:
    """What is wrong with the neighbours of an atom, with its level."""
    symbol, count = symbols[atom], len(bonds.near[atom])
    if symbol in _MOST and count > _MOST[symbol]:
        yield STOP, f"has {count} neighbours"
    elif symbol == "C":
        yield from _of_carbon(atom, symbols, bonds)
    elif symbol == "N" and count in (1, 2):
        yield from _of_nitrogen(atom, symbols, bonds)
    elif symbol == "O" and count == 1:
        yield from _of_oxygen(atom, symbols, bonds)
    elif symbol in ("H", "Si", "Ge") and count < (1 if symbol == "H" else 4):
        yield LOOK, f"has {_neighbours(count)}: others are missing, or a box was not given"


def _of_carbon(atom: int, symbols: list[str], bonds: BondVectors) -> Iterator[tuple[str, str]]:
    """Carbons whose geometry has room for another neighbour."""
    near = bonds.near[atom]
    if len(near) == 3 and sum(bonds.angles(atom)) < _PLANE:
        yield STOP, "has three neighbours that are not in a plane with it: a fourth is missing"
    elif len(near) == 2 and bonds.angles(atom)[0] < _LINE:
        yield STOP, "has two neighbours that are not in a line with it: others are missing"
    elif len(near) == 1 and all(symbols[n] not in ("C", "N", "O") for n in near):
        yield STOP, "has one neighbour: others are missing"


def _of_nitrogen(atom: int, symbols: list[str], bonds: BondVectors) -> Iterator[tuple[str, str]]:
    """Nitrogens with one or two neighbours and no multiple bond; in a ring two are enough (pyridine, histidine)."""
    count = len(bonds.near[atom])
    limit = _N_DOUBLE_NM if count == 2 else _N_TRIPLE_NM
    heavy = [n for n in bonds.near[atom] if symbols[n] in ("C", "N")]
    if heavy and all(bonds.length(atom, n) > limit and not bonds.in_ring(atom, n) for n in heavy):
        imine = count == 1 and all(bonds.length(atom, n) < _N_DOUBLE_NM for n in heavy)
        what = "another is missing, or it is an anion"
        yield LOOK if imine else STOP, f"has {_neighbours(count)} and no double bond: {what}"


def _of_oxygen(atom: int, symbols: list[str], bonds: BondVectors) -> Iterator[tuple[str, str]]:
    """Oxygens with one neighbour, which is a hydrogen or at the distance of an alcohol."""
    (other,) = bonds.near[atom]
    if symbols[other] == "H":
        yield LOOK, "has one hydrogen alone: one is missing, or it is a hydroxide ion"
    elif symbols[other] == "C" and bonds.length(atom, other) > _O_DOUBLE_NM:
        yield LOOK, "has one neighbour at the distance of an alcohol: its hydrogen is missing, or it is an anion"


def _neighbours(count: int) -> str:
    return {0: "no neighbour", 1: "one neighbour"}.get(count, f"{count} neighbours")


def _odd_electrons(subject: CheckedSystem, caps: int) -> str | None:
    """What is to be said where electrons do not pair."""
    from ase.data import atomic_numbers

    if any(symbol not in atomic_numbers for symbol in subject.symbols):
        return None
    charge = _charge(subject)
    if charge is None:
        return None
    count = sum(atomic_numbers[symbol] for symbol in subject.symbols) + caps - charge
    if count % 2 == 0:
        return None
    said = f"{charge:+d}" if charge else "0"
    return (
        f"with a charge of {said} e the model's atoms have {count} electrons, an odd number: a hydrogen is missing or "
        "too many, unless it is a radical or the charge is another"
    )


def _charge(subject: CheckedSystem) -> int | None:
    """Charge of the model's atoms: what the model is given, the force field's, or none; None where it is not whole."""
    given = dict(subject.inputs)
    if "charge" in given:
        return round(given["charge"])
    if not subject.hybrid:
        return 0
    for force in subject.setup.system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            charges = [force.getParticleParameters(int(i))[0] for i in subject.atoms]
            total = sum(charge.value_in_unit(unit.elementary_charge) for charge in charges)
            return round(total) if abs(total - round(total)) < _WHOLE_CHARGE else None
    return 0
