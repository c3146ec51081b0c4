"""Options that say which model and which structure, for every command that takes them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

#: By name; the first two are no options but words in their place.
_DECLARED: Mapping[str, Mapping[str, Any]] = {
    "model": {"metavar": "MODEL", "help": "model file or nequip.net: id"},
    "structure": {"metavar": "STRUCTURE", "help": "PDB, mmCIF, GRO, extxyz, CIF, POSCAR, ..."},
    "box": {"nargs": "+", "type": float, "metavar": "Å", "help": "3 edges or 9 vector components"},
    "frame": {"type": int, "default": -1, "metavar": "N", "help": "frame of the file, from 0 (default: last)"},
    "units": {"nargs": 2, "metavar": ("LENGTH", "ENERGY"), "help": "the model's units (angstrom eV)"},
    "types": {"nargs": "+", "metavar": "TYPE", "help": "model type of each atom, or one file with them"},
    "input": {
        "nargs": "+", "action": "extend", "metavar": "NAME=VALUE",
        "help": "what the model takes beside the structure: charge=1",
    },
    "device": {"help": "torch device (default: cpu)"},
    "module-inputs": {
        "nargs": "+", "metavar": "NAME",
        "help": "what a TorchScript module of no known format takes, in order: atom-positions atom-numbers box pbc, "
        "with settings such as cutoff=5.0 or outputs=energy+forces",
    },
    "remove-reference-energy": {
        "action": argparse.BooleanOptionalAction,
        "help": "TorchMD-Net models trained on energies less those of free atoms: give these, or (no-) the whole "
        "energies (default: as the file says)",
    },
    "max-neighbors": {
        "type": int, "metavar": "N",
        "help": "TorchMD-Net: neighbours of an atom there is room for (default: the file's)",
    },
    "coulomb-cutoff": {
        "type": float, "metavar": "Å", "help": "TorchMD-Net: cutoff of the model's own Coulomb term",
    },
    "trusted": {"metavar": "SHA256", "help": "SHA-256 that the model file must have"},
}  # fmt: skip
_POSITIONAL = ("model", "structure")
#: Settings of TorchMD-Net checkpoints, with the names that they have in ``run``.
REBUILDING = ("remove-reference-energy", "max-neighbors", "coulomb-cutoff")


def add_model_options(
    parser: argparse.ArgumentParser, names: Sequence[str], optional: Sequence[str] = (), **more: Any
) -> None:
    """Declare options of a model and a structure.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command.
    names : sequence of str
        Which ones, in this order, as they are typed.
    optional : sequence of str
        Of ``model`` and ``structure``, those that may be left out.
    more
        What a command says otherwise: a help text by the option's name (``_`` for ``-``), or the ``default`` of all.
    """
    for name in names:
        facts = dict(_DECLARED[name]) | ({"nargs": "?"} if name in optional else {})
        facts |= {"help": more[name.replace("-", "_")]} if name.replace("-", "_") in more else {}
        facts |= {"default": more["default"]} if "default" in more else {}
        parser.add_argument(name if name in _POSITIONAL else f"--{name}", **facts)
