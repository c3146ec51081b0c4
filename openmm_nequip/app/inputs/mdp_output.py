"""What a GROMACS ``.mdp`` has written and when, and the motion of the whole."""

from __future__ import annotations

from .index_groups import IndexGroups
from .mdp_dynamics import group_of
from .mdp_translation import MdpTranslation


def translate_output(read: MdpTranslation, kind: str, groups: IndexGroups) -> None:
    """Settings for what is written, and when.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    kind : str
        What :func:`translate_integrator` said.
    groups : IndexGroups
        Groups of atoms.

    Raises
    ------
    EngineInputError
        For a bad value, or a group that is not there.
    """
    mdp = read.mdp
    full, small = mdp.count("nstxout", 0), mdp.count("nstxout-compressed", 0)
    energies, lines = mdp.count("nstenergy", 1000), mdp.count("nstlog", 1000)
    steps = max(mdp.count("nsteps", 0), 1)
    if small:
        read.set("trajectory", "xtc", "nstxout-compressed")
        read.set("report_interval", small, "nstxout-compressed", "steps")
        read.ignore("nstxout", "one trajectory is written, that of nstxout-compressed" if full else "asks for nothing")
    else:
        read.ignore("nstxout-compressed", "asks for nothing")
        if full:
            read.set("trajectory", "dcd", "nstxout", "a .dcd in place of the .trr", replaced=True)
        read.set("report_interval", full or steps, "nstxout", "steps" if full else "the last step alone", default="0")
    for name, what in (("nstvout", "velocities"), ("nstfout", "forces")):
        read.ignore(name, f"no trajectory of {what} is written" if mdp.count(name, 0) else "asks for nothing")
    every = energies or lines or steps
    name, other = ("nstenergy", "nstlog") if energies or not lines else ("nstlog", "nstenergy")
    read.set("log_interval", every, name, "rows of log.csv", default="1000")
    read.ignore(other, f"one table is written, log.csv, by {name}")
    read.ignore("nstcalcenergy", "energies are computed where they are written")
    precision = mdp.number("compressed-x-precision", 1000)
    read.ignore("compressed-x-precision", "an .xtc has 1000, picometres" if precision != 1000 else "as it is here")
    for option in ("compressed-x-grps", "energygrps"):
        for group in mdp.texts(option):
            group_of(read, option, group, groups)
        frames = option != "energygrps"
        read.ignore(option, "all atoms are written" if frames else "energies between groups are not kept")
    _translate_drift(read, kind, groups)


def _translate_drift(read: MdpTranslation, kind: str, groups: IndexGroups) -> None:
    """Settings for the motion of the whole."""
    mdp = read.mdp
    mode = mdp.word("comm-mode", "linear", ("linear", "angular", "linearaccelerationcorrection", "none"))
    for name in mdp.texts("comm-grps"):
        group_of(read, "comm-grps", name, groups)
    every = 0 if mode == "none" else mdp.count("nstcomm", 100)
    if kind == "minimize":
        read.ignore("comm-mode", "nothing moves by itself in a minimisation")
    elif mode in ("none", "linear"):
        read.set("com_interval", every, "comm-mode", "steps", default="linear, every 100 steps")
    else:
        words = "the motion of the centre of mass alone; rotation stays"
        read.set("com_interval", every, "comm-mode", words, replaced=True)
    read.done("nstcomm")
    whole = all(group_of(read, "comm-grps", name, groups).name.lower() == "system" for name in mdp.texts("comm-grps"))
    read.set("", "all atoms together", "comm-grps", "" if whole else "in place of each group by itself", not whole)
