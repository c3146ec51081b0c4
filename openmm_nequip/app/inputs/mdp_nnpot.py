"""Neural network potentials in a GROMACS ``.mdp``: the ``nnpot-`` options of the 2025 and 2026 documentation."""

from __future__ import annotations

import os

import openmm.app as app

from ...errors import ModelFileError, ModuleError, OpenMMNequIPError
from ...models import load_model, locate
from ...models.modules.declared_path import DeclaredPath
from ...units import Units
from ..single_point import evaluate
from ..structures.structure_files import Structure
from .index_groups import IndexGroups
from .mdp_dynamics import group_of
from .mdp_translation import MdpTranslation

#: Inputs that GROMACS hands to a model.
MODEL_INPUTS = (
    "atom-positions", "atom-numbers", "atom-pairs", "pair-shifts", "box", "pbc", "atom-positions-mm", "atom-charges-mm",
    "nnp-charge",
)  # fmt: skip
MOST_INPUTS = 9


def translate_model(read: MdpTranslation, groups: IndexGroups, structure: Structure) -> None:
    """Settings for the model and its region.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    groups : IndexGroups
        Groups of atoms.
    structure : Structure
        The atoms, with elements where their names tell them.

    Raises
    ------
    EngineInputError
        If no model is asked for, or for a group, input, element or embedding that is not there or not done.
    """
    mdp, count = read.mdp, len(structure.positions_nm)
    if not mdp.flag("nnpot-active"):
        raise mdp.error("nnpot-active", "is not yes: there is no model in this set-up. Set it, with nnpot-modelfile "
                        "and nnpot-input-group")  # fmt: skip
    read.set("", "the model acts", "nnpot-active")
    written = mdp.text("nnpot-modelfile", "model.pt")
    read.set("model", _model_path(read, written), "nnpot-modelfile", default="model.pt")
    group = group_of(read, "nnpot-input-group", mdp.text("nnpot-input-group", "System"), groups)
    if max(group.atoms) >= count:
        raise mdp.error("nnpot-input-group", f"= {group.name} has atom {max(group.atoms) + 1}; there are {count} atoms")
    atoms = sorted(set(group.atoms))
    read.set("ml_atoms", selection_of(atoms, count), "nnpot-input-group", f"{len(atoms)} atoms", default="System")
    read.result.settings["rule"] = "gromacs"
    _links(read)
    inputs = _inputs(read)
    _charge(read, inputs)
    is_module = _declare(read, inputs, structure, atoms)
    _embedding(read, inputs, is_module)


def _model_path(read: MdpTranslation, written: str) -> str:
    """The model file: beside the parameter file, or where the run is started."""
    beside = os.path.join(os.path.dirname(os.path.abspath(read.mdp.path)), os.path.expanduser(written))
    for path in (beside, os.path.abspath(os.path.expanduser(written))):
        if os.path.isfile(path):
            return os.path.abspath(path)
    raise read.mdp.error("nnpot-modelfile", f"= {written} is not there: neither {os.path.abspath(beside)} nor "
                         f"{os.path.abspath(written)}")  # fmt: skip


def selection_of(atoms: list[int], count: int) -> str:
    """Atoms as ``--ml-atoms`` takes them.

    Parameters
    ----------
    atoms : list of int
        Ascending.
    count : int
        How many atoms there are.
    """
    if len(atoms) == count:
        return "all"
    ranges: list[list[int]] = []
    for i in atoms:
        if ranges and i == ranges[-1][1] + 1:
            ranges[-1][1] = i
        else:
            ranges.append([i, i])
    return " or ".join(f"index {a} to {b}" if b > a else f"index {a}" for a, b in ranges)


def _links(read: MdpTranslation) -> None:
    """Caps of cut bonds."""
    mdp = read.mdp
    element = mdp.text("nnpot-link-type", "H").capitalize()
    try:
        app.Element.getBySymbol(element)
    except KeyError:
        raise mdp.error("nnpot-link-type", f"= {mdp.text('nnpot-link-type')} is no element; H is usual") from None
    distance = mdp.number("nnpot-link-distance", 0.1)
    if not 0 < distance < 1:
        raise mdp.error("nnpot-link-distance", f"= {distance:g}: expected a bond length in nm, about 0.1")
    read.set("link_element", element, "nnpot-link-type", default="H")
    told = "" if distance == 0.1 else "GROMACS 2026 reads this and places caps at 0.1 nm all the same"
    read.set("link_distance", distance, "nnpot-link-distance", told or "nm", default="0.1")


def _inputs(read: MdpTranslation) -> list[str]:
    """The inputs that are declared, in their order."""
    mdp = read.mdp
    found: list[str] = []
    for number in range(1, MOST_INPUTS + 1):
        option = f"nnpot-model-input{number}"
        text = mdp.text(option).lower().replace("_", "-")
        if not text:
            read.done(option)
            continue
        if text not in MODEL_INPUTS:
            raise mdp.error(option, f"= {mdp.text(option)} is no input; GROMACS has {', '.join(MODEL_INPUTS)}")
        if text in found:
            before = found.index(text) + 1
            raise mdp.error(option, f"= {text} is there already, as input {before}; give each input once")
        found.append(text)
    for number in range(MOST_INPUTS + 1, MOST_INPUTS + 10):
        if f"nnpot-model-input{number}" in mdp:
            raise mdp.error(f"nnpot-model-input{number}", f"is one more than GROMACS' {MOST_INPUTS} inputs")
    if found and "atom-positions" not in found:
        raise mdp.error("nnpot-model-input1", "and the others leave out atom-positions, without which no model has "
                        "forces")  # fmt: skip
    return found


def _declare(read: MdpTranslation, inputs: list[str], structure: Structure, atoms: list[int]) -> bool:
    """Settings for the inputs of a module; whether the model is one, and no file of nequip's, which states its own."""
    mdp, path = read.mdp, read.result.settings["model"]
    options = [f"nnpot-model-input{number}" for number in range(1, MOST_INPUTS + 1)]
    cutoff = mdp.number("nnpot-pair-cutoff", 0.0)
    pairs = "atom-pairs" in inputs or "pair-shifts" in inputs
    declared = [*inputs, f"cutoff={cutoff!r}"] if pairs and cutoff > 0 else inputs
    try:
        is_module = bool(inputs) and locate(DeclaredPath(path, ",".join([*_parsed(inputs)]))).interface != ""
    except ModuleError:
        is_module = False
    except ModelFileError as error:
        raise mdp.error("nnpot-modelfile", f"= {path} cannot be used: {error}") from error
    if not is_module:
        for option in options:
            read.ignore(option, "the model's file says itself what it takes, and in which order")
        read.ignore("nnpot-pair-cutoff", "the model's own cutoff decides which pairs it sees")
        if not inputs:
            _check_known(read, path)
        return False
    if pairs and cutoff <= 0:
        option = next(name for name in options if mdp.word(name, "") in ("atompairs", "pairshifts"))
        needed = "nnpot-pair-cutoff, a distance above 0 nm"
        raise mdp.error(option, f"= {mdp.text(option)} needs {needed}; it is {cutoff:g}")
    _try_module(read, declared, structure, atoms)
    first = next(option for option in options if mdp.text(option))
    read.set("module_inputs", tuple(declared), first, "in this order, with GROMACS' units, kinds of numbers and signs")
    read.done(*options)
    if pairs:
        read.set("", "cutoff of the pairs", "nnpot-pair-cutoff", "nm")
    else:
        read.ignore("nnpot-pair-cutoff", "the model takes no pairs")
    return True


def _parsed(inputs: list[str]) -> list[str]:
    """A declaration that has all that names of pairs need, to find out what a file is."""
    pairs = "atom-pairs" in inputs or "pair-shifts" in inputs
    return [*inputs, "cutoff=1.0"] if pairs else inputs


def _check_known(read: MdpTranslation, path: str) -> None:
    """Refuse a file that is no model by itself, where no inputs are declared."""
    from ...models import read_info

    try:
        read_info(locate(path))
    except OpenMMNequIPError as error:
        raise read.mdp.error("nnpot-modelfile", f"= {path} cannot be used: {error}") from error


def _try_module(read: MdpTranslation, declared: list[str], structure: Structure, atoms: list[int]) -> None:
    """Call a module once, as ``grompp`` does, so that inputs in another order are found out here."""
    symbols = structure.symbols
    if "atom-positions-mm" in declared or not all(symbols[i] for i in atoms):
        return
    parts = list(structure.topology.atoms())
    small = app.Topology()
    residue = small.addResidue("NNP", small.addChain())
    for i in atoms:
        small.addAtom(parts[i].name, parts[i].element, residue)
    boxed = {"box", "pair-shifts"} & set(declared)
    part = Structure(structure.path, small, structure.positions_nm[atoms], structure.box_nm if boxed else None)
    given = {"charge": read.mdp.number("nnpot-nnp-charge", 0.0)} if "nnp-charge" in declared else {}
    try:
        model = load_model(read.result.settings["model"], moduleInputs=[*declared, "check=no"], modelInputs=given)
        evaluate(model, part, Units(1.0, 1.0))
    except Exception as error:  # a module raises anything at all
        raise read.mdp.error(
            "nnpot-model-input1", f"to the last, {', '.join(declared)}, are not what {read.result.settings['model']} "
            f"takes in this order: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}"
        ) from error  # fmt: skip


def _embedding(read: MdpTranslation, inputs: list[str], is_module: bool) -> None:
    """How the model feels its surroundings."""
    mdp = read.mdp
    kind = mdp.word("nnpot-embedding", "mechanical", ("mechanical", "electrostaticmodel"))
    feels = is_module and "atom-positions-mm" in inputs and "atom-charges-mm" in inputs
    if kind == "electrostaticmodel" and not feels:
        raise mdp.error("nnpot-embedding", "= electrostatic-model, and the model does not take atom-positions-mm and "
                        "atom-charges-mm; declare them, or use mechanical")  # fmt: skip
    if kind == "mechanical" and is_module and {"atom-positions-mm", "atom-charges-mm"} & set(inputs):
        raise mdp.error("nnpot-embedding", "= mechanical, and the model is to be given charges around it; use "
                        "electrostatic-model")  # fmt: skip
    if kind == "electrostaticmodel":
        read.set("", "the model feels the charges around its region, which has none itself", "nnpot-embedding")
    else:
        read.set("", "mechanical embedding", "nnpot-embedding", default="mechanical")


def _charge(read: MdpTranslation, inputs: list[str]) -> None:
    mdp = read.mdp
    charge = mdp.number("nnpot-nnp-charge", 0.0)
    if "nnp-charge" in inputs:
        value = int(charge) if charge == int(charge) else charge
        read.set("input", (f"charge={value}",), "nnpot-nnp-charge", "e", default="0")
    else:
        read.ignore("nnpot-nnp-charge", "the model takes no charge: nnp-charge is none of its inputs")
