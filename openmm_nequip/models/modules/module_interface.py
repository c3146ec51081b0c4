"""What a module takes and gives, as its author or user declares it: names in order, and what they mean.

The declaration is one line of text, which is also how it travels with a System::

    atom-positions,atom-numbers,box,pbc
    positions,numbers,edge-index,cell-shifts,cutoff=5.0,dtype=float64,outputs=energy+forces

References
----------
The names with ``atom-``, ``pair-`` and ``nnp-`` are those of GROMACS' NNPot (``nnpot-model-input1`` ...), with its
dtypes, its half list and its sign (``src/gromacs/applied_forces/nnpot/torchmodel.cpp``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...errors import ModuleError
from ...units import Units
from .elements import ATOMIC_SYMBOLS

#: Kinds of tensors that an input may be, see :data:`INPUTS`.
POSITIONS, NUMBERS, TYPES, BOX, PBC, BATCH = "positions", "numbers", "types", "box", "pbc", "batch"
PAIRS, EDGE_ROWS, SHIFTS, CELL_SHIFTS, CHARGE, SPIN = "pairs", "edge-index", "shifts", "cell-shifts", "charge", "spin"
MM_POSITIONS, MM_CHARGES, CHARGES = "mm-positions", "mm-charges", "charges"
ENERGY, FORCES, ATOMIC_ENERGIES, VIRIAL, MM_FORCES = "energy", "forces", "atomic-energies", "virial", "mm-forces"
FLOAT32, FLOAT64, INT32, INT64, BOOL = "float32", "float64", "int32", "int64", "bool"
DTYPES = (FLOAT32, FLOAT64, INT32, INT64, BOOL)
OUTPUTS = (ENERGY, FORCES, ATOMIC_ENERGIES, VIRIAL, MM_FORCES)
#: The order in which GROMACS takes the answers of a module.
USUAL_OUTPUTS = (ENERGY, FORCES, MM_FORCES)
_OWN = "own"  #: the precision of the module itself


class _Known(NamedTuple):
    """A name that may stand in a declaration: the kind of tensor, its dtype, whether it is GROMACS' own name."""

    kind: str
    dtype: str
    gromacs: bool = False


#: Every name of an input.
INPUTS = {
    "positions": _Known(POSITIONS, _OWN),
    "numbers": _Known(NUMBERS, INT64),
    "types": _Known(TYPES, INT64),
    "box": _Known(BOX, _OWN),
    "pbc": _Known(PBC, BOOL),
    "batch": _Known(BATCH, INT64),
    "pairs": _Known(PAIRS, INT64),
    "edge-index": _Known(EDGE_ROWS, INT64),
    "shifts": _Known(SHIFTS, _OWN),
    "cell-shifts": _Known(CELL_SHIFTS, _OWN),
    "charge": _Known(CHARGE, _OWN),
    "spin": _Known(SPIN, _OWN),
    "charges": _Known(CHARGES, _OWN),
    "atom-positions": _Known(POSITIONS, _OWN, True),
    "atom-numbers": _Known(NUMBERS, INT32, True),
    "atom-pairs": _Known(PAIRS, INT32, True),
    "pair-shifts": _Known(SHIFTS, _OWN, True),
    "nnp-charge": _Known(CHARGE, _OWN, True),
    "atom-positions-mm": _Known(MM_POSITIONS, _OWN, True),
    "atom-charges-mm": _Known(MM_CHARGES, _OWN, True),
}
_SETTINGS = ("cutoff", "list", "vectors", "dtype", "outputs", "elements", "check")
_LISTS = ("full", "half")
#: r_ij of a pair: as nequip and ASE have it, or as GROMACS.
SECOND_FIRST, FIRST_SECOND = "second-first", "first-second"
_OTHER_NAMES = {"pair-cutoff": "cutoff", "cell": "box", "edge-shifts": "cell-shifts", "q": "charge"}


class Argument(NamedTuple):
    """One input of a module.

    Parameters
    ----------
    name : str
        One of :data:`INPUTS`.
    dtype : str
        One of :data:`DTYPES`, or ``"own"`` for the precision of the module.
    """

    name: str
    dtype: str

    @property
    def kind(self) -> str:
        """What tensor it is."""
        return INPUTS[self.name].kind

    def __str__(self) -> str:
        return self.name if self.dtype == INPUTS[self.name].dtype else f"{self.name}:{self.dtype}"


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a module.

    Parameters
    ----------
    inputs : tuple of Argument
        In the order in which the module takes them.
    outputs : tuple of str
        Of ``energy``, ``forces``, ``atomic-energies``, ``virial``, in the order in which the module gives them; empty
        for what a scripted module's own signature says, and the energy alone for others.
    cutoff : float, optional
        Of the pair list, in the module's unit of length.
    half : bool
        Whether each pair stands in the list once.
    vectors : str
        ``"second-first"``: ``r = x[second] - x[first] + shift``; ``"first-second"``: GROMACS'
        ``r = x[first] - x[second] + shift``.
    dtype : str
        ``"own"``, ``"float32"`` or ``"float64"``: precision of floating-point inputs.
    elements : tuple of str
        Elements that the module knows, in the order of their types; empty for all.
    check : bool
        Whether forces and invariances are checked at first use.

    Raises
    ------
    ModuleError
        If these do not go together.
    """

    inputs: tuple[Argument, ...]
    outputs: tuple[str, ...] = ()
    cutoff: float | None = None
    half: bool = False
    vectors: str = SECOND_FIRST
    dtype: str = _OWN
    elements: tuple[str, ...] = ()
    check: bool = True

    def __post_init__(self) -> None:
        kinds = self.kinds
        if POSITIONS not in kinds:
            raise ModuleError(f"moduleInputs={self.text!r} has no positions; no energy can follow from the rest")
        twice = sorted({kind for kind in kinds if kinds.count(kind) > 1})
        if twice:
            raise ModuleError(f"moduleInputs={self.text!r} has the {twice[0]} twice; give each input once")
        if self.takes_pairs and self.cutoff is None:
            raise ModuleError(
                f"moduleInputs={self.text!r} takes pairs of atoms within a cutoff, and none is given: add "
                "cutoff=LENGTH, in the module's unit of length"
            )
        if self.cutoff is not None and not self.takes_pairs:
            raise ModuleError(f"moduleInputs={self.text!r} has a cutoff, and no pairs for it; leave it out")
        if {SHIFTS, CELL_SHIFTS} & {*kinds} and not self.takes_pairs:
            raise ModuleError(f"moduleInputs={self.text!r} has shifts of pairs, and no pairs; name the pairs as well")
        if TYPES in kinds and not self.elements:
            raise ModuleError(
                f"moduleInputs={self.text!r} takes types: say which element has which, as elements=H+C+N+O"
            )
        if (MM_POSITIONS in kinds) is not (MM_CHARGES in kinds):
            raise ModuleError(
                f"moduleInputs={self.text!r} has one of atom-positions-mm and atom-charges-mm; a module that feels "
                "charges takes both"
            )
        if MM_FORCES in self.outputs and not (self.embeds and FORCES in self.outputs):
            raise ModuleError(
                f"moduleInputs={self.text!r}: outputs=mm-forces go with the inputs atom-positions-mm and "
                "atom-charges-mm and with forces"
            )
        if self.outputs and not {ENERGY, ATOMIC_ENERGIES} & {*self.outputs}:
            raise ModuleError(f"moduleInputs: outputs={'+'.join(self.outputs)} has no energy")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What tensors the inputs are, in their order."""
        return tuple(each.kind for each in self.inputs)

    @property
    def takes_pairs(self) -> bool:
        """Whether it needs a pair list."""
        return PAIRS in self.kinds or EDGE_ROWS in self.kinds

    @property
    def is_periodic(self) -> bool:
        """Whether it is told enough to be evaluated under periodic boundary conditions."""
        kinds = {*self.kinds}
        return SHIFTS in kinds or (CELL_SHIFTS in kinds and BOX in kinds) or (BOX in kinds and not self.takes_pairs)

    @property
    def embeds(self) -> bool:
        """Whether it takes the charges of the force field around it: electrostatic embedding."""
        return MM_POSITIONS in self.kinds

    @property
    def is_gromacs(self) -> bool:
        """Whether a name of GROMACS' stands in it: then lengths are nm and energies kJ/mol."""
        return any(INPUTS[each.name].gromacs for each in self.inputs)

    @property
    def units(self) -> Units | None:
        """Units that follow from the names; None where the user has to say them."""
        return Units(1.0, 1.0) if self.is_gromacs else None

    @property
    def type_names(self) -> tuple[str, ...]:
        """Elements that it knows."""
        return self.elements or ATOMIC_SYMBOLS

    @property
    def text(self) -> str:
        """The declaration as one line, which :func:`parse_interface` reads."""
        words = [str(each) for each in self.inputs]
        standard = _defaults(self.is_gromacs)
        stated = {
            "cutoff": None if self.cutoff is None else repr(self.cutoff),
            "list": _LISTS[self.half] if self.takes_pairs else None,
            "vectors": self.vectors if self.takes_pairs else None,
            "dtype": self.dtype,
            "outputs": "+".join(self.outputs) or None,
            "elements": "+".join(self.elements) or None,
            "check": None if self.check else "no",
        }
        words += [f"{name}={value}" for name, value in stated.items() if value not in (None, standard.get(name))]
        return ",".join(words)

    def __str__(self) -> str:
        return self.text


def _defaults(gromacs: bool) -> dict[str, str]:
    return {"list": "half" if gromacs else "full", "vectors": FIRST_SECOND if gromacs else SECOND_FIRST, "dtype": _OWN}


def parse_interface(given: Any) -> Interface:
    """A declaration as a user gives it.

    Parameters
    ----------
    given : str, sequence of str, mapping or Interface
        Names of inputs in order, separated by commas or spaces, each with its dtype after a colon where it is another
        than usual, and settings ``NAME=VALUE``: ``cutoff``, ``list`` (``full``, ``half``), ``vectors``
        (``second-first``, ``first-second``), ``dtype``, ``outputs``, ``elements``, ``check`` (``yes``, ``no``). A
        mapping has ``inputs`` and the settings.

    Returns
    -------
    Interface

    Raises
    ------
    ModuleError
        For a name that is not known, settings that are wrong, or what does not go together.
    """
    if isinstance(given, Interface):
        return given
    words = _words(given)
    if not words:
        raise ModuleError(f"moduleInputs={given!r} names no input; give those of the module in order: {_known()}")
    inputs, stated = [], {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        name = _OTHER_NAMES.get(name.replace("_", "-").lower(), name.replace("_", "-").lower())
        if not equals:
            inputs.append(_argument(name, word))
        elif name not in _SETTINGS:
            raise ModuleError(f"moduleInputs: {word!r} is unknown; settings are {', '.join(_SETTINGS)}")
        elif name in stated:
            raise ModuleError(f"moduleInputs gives {name} twice; give it once")
        else:
            stated[name] = value
    stated = _defaults(any(INPUTS[each.name].gromacs for each in inputs)) | stated
    return Interface(
        inputs=tuple(inputs),
        outputs=_each_of("outputs", stated.get("outputs", ""), OUTPUTS),
        cutoff=_cutoff(stated.get("cutoff")),
        half=_one_of("list", stated["list"], _LISTS) == "half",
        vectors=_one_of("vectors", stated["vectors"], (SECOND_FIRST, FIRST_SECOND)),
        dtype=_one_of("dtype", stated["dtype"], (_OWN, FLOAT32, FLOAT64)),
        elements=_each_of("elements", stated.get("elements", ""), ATOMIC_SYMBOLS),
        check=_one_of("check", stated.get("check", "yes"), ("yes", "no")) == "yes",
    )


def _words(given: Any) -> list[str]:
    if isinstance(given, str):
        return given.replace(",", " ").split()
    if isinstance(given, Mapping):
        settings = {key: value for key, value in given.items() if key != "inputs"}
        return [*_words(given.get("inputs", ())), *(f"{key}={_plain(value)}" for key, value in settings.items())]
    if isinstance(given, Iterable):
        words = list(given)
        if all(isinstance(word, str) for word in words):
            return [part for word in words for part in _words(word)]
    raise ModuleError(f"moduleInputs={given!r}: give the names of the inputs in order, such as 'positions,numbers'")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return str(value)


def _known() -> str:
    return ", ".join(INPUTS)


def _argument(name: str, word: str) -> Argument:
    name, colon, dtype = name.partition(":")
    name = _OTHER_NAMES.get(name, name)
    if name not in INPUTS:
        raise ModuleError(f"moduleInputs: there is no input {word!r}; there are {_known()}", name)
    if colon and dtype not in DTYPES:
        raise ModuleError(f"moduleInputs: {word!r}: the dtype is none of {', '.join(DTYPES)}", name)
    return Argument(name, dtype or INPUTS[name].dtype)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ModuleError(f"moduleInputs: {name}={value} is unknown; use one of {', '.join(allowed)}", name)
    return value


def _each_of(name: str, value: str, allowed: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(part.strip() for part in value.split("+") if part.strip())
    found = tuple(part.replace("_", "-") for part in found) if name == "outputs" else found
    for part in found:
        if part not in allowed:
            shown = ", ".join(allowed) if len(allowed) < 20 else "symbols of elements"
            raise ModuleError(f"moduleInputs: {name}={value}: {part!r} is unknown; use {shown}, joined by +", name)
    if len(set(found)) != len(found):
        raise ModuleError(f"moduleInputs: {name}={value} has one twice", name)
    return found


def _cutoff(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ModuleError(f"moduleInputs: cutoff={text}: give a positive length, in the module's unit", "cutoff")
    return value
