"""Neural network potentials in a GROMACS ``.mdp``: the ``nnpot-`` options of the 2025 and 2026 documentation."""

from __future__ import annotations

import os

import openmm.app as app

from .index_groups import IndexGroups
from .mdp_dynamics import group_of
from .mdp_translation import MdpTranslation

#: Inputs that GROMACS hands to a model.
MODEL_INPUTS = (
    "atom-positions", "atom-numbers", "atom-pairs", "pair-shifts", "box", "pbc", "atom-positions-mm", "atom-charges-mm",
    "nnp-charge",
)  # fmt: skip
MOST_INPUTS = 9


def translate_model(read: MdpTranslation, groups: IndexGroups, count: int) -> None:
    """Settings for the model and its region.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    groups : IndexGroups
        Groups of atoms.
    count : int
        Number of atoms.

    Raises
    ------
    EngineInputError
        If no model is asked for, or for a group, input, element or embedding that is not there or not done.
    """
    mdp = read.mdp
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
    embedding = mdp.word("nnpot-embedding", "mechanical", ("mechanical", "electrostaticmodel"))
    inputs = _inputs(read)
    if embedding != "mechanical":
        raise mdp.error("nnpot-embedding", "= electrostatic-model is not done here; use mechanical")
    read.set("", "mechanical embedding", "nnpot-embedding", default="mechanical")
    _charge(read, inputs)


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
        read.ignore(option, "the model is given what its own file says that it takes")
    for number in range(MOST_INPUTS + 1, MOST_INPUTS + 10):
        if f"nnpot-model-input{number}" in mdp:
            raise mdp.error(f"nnpot-model-input{number}", f"is one more than GROMACS' {MOST_INPUTS} inputs")
    if found and "atom-positions" not in found:
        raise mdp.error("nnpot-model-input1", "and the others leave out atom-positions, without which no model has "
                        "forces")  # fmt: skip
    read.ignore("nnpot-pair-cutoff", "the model's own cutoff decides which pairs it sees")
    return found


def _charge(read: MdpTranslation, inputs: list[str]) -> None:
    mdp = read.mdp
    charge = mdp.number("nnpot-nnp-charge", 0.0)
    if "nnp-charge" in inputs:
        value = int(charge) if charge == int(charge) else charge
        read.set("input", (f"charge={value}",), "nnpot-nnp-charge", "e", default="0")
    else:
        read.ignore("nnpot-nnp-charge", "the model takes no charge: nnp-charge is none of its inputs")
