"""Options of a GROMACS ``.mdp`` that must ask for nothing, or that nothing here depends on."""

from __future__ import annotations

from .mdp_file import plain
from .mdp_translation import MdpTranslation

_NO = ("no", "off", "false", "0", "none")
#: Switches that must be off: the option, GROMACS' default, and the beginnings of the options that go with it.
_MUST_BE_OFF: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("free-energy", "no", (
        "init-lambda", "delta-lambda", "fep-lambdas", "coul-lambdas", "vdw-lambdas", "bonded-lambdas",
        "restraint-lambdas", "mass-lambdas", "temperature-lambdas", "calc-lambda-neighbors",
        "sc-", "couple-", "nstdhdl", "dhdl-", "dh-",
        "separate-dhdl-file", "init-lambda-weights", "lmc-", "nstexpanded", "wl-", "symmetrized", "mininum-var", "mc-",
        "lambda-state", "nst-transition", "nsttransition",
    )),
    ("expanded-ensemble", "no", ()),
    ("pull", "no", ("pull-",)),
    ("awh", "no", ("awh-", "awh1", "awh2", "awh3")),
    ("rotation", "no", ("rot-",)),
    ("imd-group", "", ()),
    ("simulated-tempering", "no", ("sim-temp", "simulated-tempering-")),
    ("swapcoords", "no", ("swap-", "split-", "massw-", "solvent-group", "coupl-steps", "iontypes", "iontype", "cyl",
                          "threshold")),
    ("QMMM", "no", ("qm", "mmchargescalefactor", "sh", "casorbitals", "caselectrons", "saon", "saoff", "sasteps")),
    ("qmmm-cp2k-active", "no", ("qmmm-cp2k-",)),
    ("density-guided-simulation-active", "no", ("density-guided-simulation-",)),
    ("colvars-active", "no", ("colvars-",)),
    ("fmm-active", "no", ("fmm-",)),
    ("disre", "no", ("disre-", "nstdisreout")),
    ("orire", "no", ("orire-", "nstorireout")),
    ("dihre", "no", ("dihre-",)),
    ("nwall", "0", ("wall-",)),
    ("cos-acceleration", "0", ()),
    ("deform", "", ("deform-",)),
    ("acc-grps", "", ("accelerate",)),
    ("freezegrps", "", ("freezedim",)),
    ("energygrp-excl", "", ()),
    ("energygrp-table", "", ()),
    ("electric-field-x", "", ()),
    ("electric-field-y", "", ()),
    ("electric-field-z", "", ()),
    ("e-x", "", ()),
    ("e-y", "", ()),
    ("e-z", "", ()),
    ("e-xt", "", ()),
    ("e-yt", "", ()),
    ("e-zt", "", ()),
    ("implicit-solvent", "no", ("gb-", "rgbradii", "sa-", "nstgbradii")),
    ("adress", "no", ("adress-",)),
    ("ensemble-temperature-setting", "auto", ("ensemble-temperature",)),
    ("mass-repartition-factor", "1", ()),
)  # fmt: skip
_ALSO_OFF = {"ensemble-temperature-setting": ("auto", "constant"), "mass-repartition-factor": ("1", "1.0")}
#: Options that change nothing here, with the reason.
_IGNORED = {
    "title": "a name", "cpp": "an old option without effect", "include": "", "define": "",
    "bd-fric": "for integrator bd", "rtpi": "for integrator tpi",
    "user1-grps": "without effect", "user2-grps": "without effect",
    "userint1": "without effect", "userint2": "without effect", "userint3": "without effect",
    "userint4": "without effect",
    "userreal1": "without effect", "userreal2": "without effect", "userreal3": "without effect",
    "userreal4": "without effect", "andersen-seed": "without effect", "domain-decomposition": "without effect",
    "warnings": "without effect", "nstcheckpoint": "without effect", "dihre-tau": "without effect",
    "nstcomm": "", "print-nose-hoover-chain-variables": "the energies of the thermostat are not written",
    "multiple-time-stepping": "", "grid": "without effect",
}  # fmt: skip


def refuse_unused(read: MdpTranslation) -> None:
    """Refuse switches that are on and options that are unknown; list the rest as ignored.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.

    Raises
    ------
    EngineInputError
        With the line.
    """
    mdp = read.mdp
    for switch, default, beginnings in _MUST_BE_OFF:
        allowed = (*_ALSO_OFF.get(switch, _NO), "")
        read.require(switch, default, allowed, "is not done here; take it out, or run it in GROMACS")
        for name in read.unknown():
            if any(name.startswith(plain(beginning)) for beginning in beginnings):
                read.ignore(name, f"{switch} is off")
    for name in read.unknown():
        if name.startswith("annealing"):
            for word in mdp.texts(name) if name == "annealing" else ():
                if plain(word) != "no":
                    raise mdp.error(name, f"= {mdp.text(name)}: simulated annealing is not done here; use no")
            read.ignore(name, "no group is annealed")
        elif name.startswith("mts"):
            _multiple_steps(read, name)
    for name, why in _IGNORED.items():
        if plain(name) in read.unknown():
            read.ignore(name, why or "taken care of above")
    for name in read.unknown():
        option = mdp[name]
        raise mdp.error(option.name, "is no option of GROMACS that is known here; check its spelling, or take it out")


def _multiple_steps(read: MdpTranslation, name: str) -> None:
    on = read.mdp.flag("mts")
    if on:
        read.set("", "all forces in every step", name, "more often than GROMACS computes some of them", replaced=True)
    else:
        read.ignore(name, "mts is off")
