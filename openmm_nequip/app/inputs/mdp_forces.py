"""Forces in a GROMACS ``.mdp``: cutoffs, electrostatics, constraints, periodicity."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import erfc

from .mdp_translation import MdpTranslation

_LIST = (
    "nstlist", "ns-type", "rlist", "verlet-buffer-tolerance", "verlet-buffer-pressure-tolerance",
    "rlistlong", "nstcalclr", "table-extension", "optimize-fft",
)  # fmt: skip
_MODIFIERS = (
    "potentialshift", "potentialshiftverlet", "none", "exactcutoff", "potentialswitch", "forceswitch",
)  # fmt: skip
_SHIFT_NOTE = "OpenMM does not shift by a constant: forces are the same, the energy is not"


def translate_forces(read: MdpTranslation) -> None:
    """Settings for non-bonded interactions.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.

    Raises
    ------
    EngineInputError
        For interactions that have no counterpart.
    """
    mdp = read.mdp
    read.require("cutoff-scheme", "verlet", ("verlet",), "GROMACS has had no other than Verlet since 2020")
    for name in _LIST:
        read.ignore(name, "how pairs are found changes no interaction")
    periodic = mdp.word("pbc", "xyz", ("xyz", "no", "xy", "screw"))
    if periodic in ("xy", "screw"):
        raise mdp.error("pbc", f"= {periodic} is not done here; use xyz with enough vacuum, or no")
    read.require("periodic-molecules", "no", ("no", "off", "false", "0"), "molecules without end are not done here")
    if periodic == "no":
        read.set("periodic", False, "pbc")
    else:
        read.set("", "the box of the .gro", "pbc", default="xyz")
    read.require("epsilon-r", "1", ("1", "1.0"), "a relative permittivity other than 1 is not done here")
    read.require("ewald-geometry", "3d", ("3d",), "a correction for slabs is not done here")
    read.require("epsilon-surface", "0", ("0", "0.0"), "tin-foil boundary conditions (0) alone are done here")
    coulomb = _electrostatics(read, periodic == "xyz")
    if coulomb != "no-cutoff":
        _lennard_jones(read, coulomb)
    else:
        for name in ("vdwtype", "vdw-modifier", "rvdw", "rvdw-switch", "dispcorr", "rcoulomb", "coulomb-modifier"):
            read.ignore(name, "no cutoff without periodicity where rcoulomb and rvdw are 0")
    for name in ("rcoulomb-switch", "lj-pme-comb-rule", "ewald-rtol-lj"):
        read.ignore(name, "for interactions that are not asked for")


def _electrostatics(read: MdpTranslation, periodic: bool) -> str:
    """The method, as ``nonbonded`` of a run names it."""
    mdp = read.mdp
    kind = mdp.word("coulombtype", "cutoff")
    reach, contact = mdp.number("rcoulomb", 1.0), mdp.number("rvdw", 1.0)
    if kind in ("pme", "p3mad"):
        if not periodic:
            raise mdp.error("coulombtype", f"= {mdp.text('coulombtype')} with pbc = no; use cut-off")
        read.set("nonbonded", "pme", "coulombtype", "PME in place of P3M" if kind == "p3mad" else "", kind == "p3mad")
        _mesh(read, reach, contact)
        _modifier(read, "coulomb-modifier", "potentialshift")
        read.ignore("epsilon-rf", "for reaction fields only")
        return "pme"
    for name in ("fourierspacing", "fourier-nx", "fourier-ny", "fourier-nz", "pme-order", "ewald-rtol"):
        read.ignore(name, "for PME only")
    if kind not in ("cutoff", "reactionfield"):
        raise mdp.error("coulombtype", f"= {mdp.text('coulombtype')} is not done here; known are PME, reaction-field "
                        "and cut-off")  # fmt: skip
    if not periodic and reach == 0 and contact == 0 and kind == "cutoff":
        read.set("nonbonded", "no-cutoff", "coulombtype", "rcoulomb and rvdw are 0: all pairs", default="cut-off")
        read.ignore("epsilon-rf", "for reaction fields only")
        return "no-cutoff"
    if reach != contact:
        raise mdp.error("rcoulomb", f"= {reach:g} and rvdw = {contact:g}: a run here has one cutoff; make them equal")
    _modifier(read, "coulomb-modifier", "potentialshift", shifted=True)
    if kind == "cutoff":
        words = "GROMACS' plain cutoff is a reaction field of permittivity 1"
        read.set("nonbonded", "reaction-field", "coulombtype", words, default="cut-off")
        read.set("dielectric", 1.0, "coulombtype")
        read.ignore("epsilon-rf", "for reaction fields only")
    else:
        words = "without GROMACS' term between excluded atoms"
        read.set("nonbonded", "reaction-field", "coulombtype", words, replaced=True)
        read.set("dielectric", mdp.number("epsilon-rf", 0.0), "epsilon-rf", "0 is infinite", default="0")
    return "reaction-field"


def _mesh(read: MdpTranslation, reach: float, contact: float) -> None:
    """The splitting of PME, and its mesh."""
    mdp = read.mdp
    tolerance, spacing = mdp.number("ewald-rtol", 1e-5), mdp.number("fourierspacing", 0.12)
    if contact <= 0:
        raise mdp.error("rvdw", f"= {contact:g}: expected a cutoff above 0 nm")
    if not 0 < tolerance < 1 or spacing <= 0 or reach <= 0:
        raise mdp.error("ewald-rtol", f"= {tolerance:g}, rcoulomb = {reach:g}, fourierspacing = {spacing:g}: expected "
                        "a tolerance between 0 and 1 and lengths above 0")  # fmt: skip
    if any(mdp.count(name, 0) for name in ("fourier-nx", "fourier-ny", "fourier-nz")):
        read.set("", "the mesh of fourierspacing", "fourier-nx", "sizes follow from the spacing", replaced=True)
    read.done("fourier-nx", "fourier-ny", "fourier-nz")
    alpha = brentq(lambda x: erfc(x) - tolerance, 0.0, 30.0, xtol=1e-14) / contact
    read.set("ewald_alpha", round(float(alpha), 10), "ewald-rtol", "erfc(alpha rvdw) is this", default="1e-5")
    scale = contact / reach
    words = "" if reach == contact else "scaled with the cutoff, as GROMACS' own load balancing does"
    read.set("pme_spacing", spacing * scale, "fourierspacing", words or "nm", bool(words), default="0.12")
    order = mdp.count("pme-order", 4)
    read.set("", "fifth-order splines", "pme-order", "OpenMM's PME has these alone", order != 5, default="4")
    if math.isclose(reach, contact):
        read.set("", "as rvdw", "rcoulomb")
    else:
        read.set("", "as rvdw", "rcoulomb", "where PME divides the sum changes nothing in it", replaced=True)


def _modifier(read: MdpTranslation, name: str, default: str, shifted: bool = False) -> None:
    """A modifier that may shift by a constant or not."""
    mdp = read.mdp
    kind = mdp.word(name, default, _MODIFIERS)
    if kind in ("potentialswitch", "forceswitch"):
        raise mdp.error(name, f"= {mdp.text(name)} of electrostatics is not done here; use potential-shift or none")
    shift = kind.startswith("potentialshift")
    same = shift == shifted
    read.set("", "shifted at the cutoff" if shifted else "not shifted", name,
             "" if same else _SHIFT_NOTE if shift else "OpenMM shifts by a constant: forces are the same", not same,
             default="potential-shift")  # fmt: skip


def _lennard_jones(read: MdpTranslation, coulomb: str) -> None:
    mdp = read.mdp
    kind = mdp.word("vdwtype", "cutoff", ("cutoff", "switch", "shift", "pme", "user", "encadshift"))
    if kind in ("pme", "user", "encadshift"):
        raise mdp.error("vdwtype", f"= {mdp.text('vdwtype')} is not done here; use cut-off")
    contact, start = mdp.number("rvdw", 1.0), mdp.number("rvdw-switch", 0.0)
    if contact <= 0:
        raise mdp.error("rvdw", f"= {contact:g}: expected a cutoff above 0 nm")
    read.set("cutoff", contact, "rvdw", "nm", default="1.0")
    if coulomb != "pme":
        read.set("", "as rvdw", "rcoulomb")
    modifier = mdp.word("vdw-modifier", "potentialshift", _MODIFIERS)
    modifier = {"switch": "potentialswitch", "shift": "forceswitch"}.get(kind, modifier)
    source = "vdwtype" if kind in ("switch", "shift") else "vdw-modifier"
    read.set("", "Lennard-Jones with a cutoff", "vdwtype", default="cut-off")
    read.done("vdw-modifier")
    if modifier.endswith("switch"):
        if not start < contact:
            raise mdp.error("rvdw-switch", f"= {start:g} is not below rvdw = {contact:g}")
        if start <= 0:
            raise mdp.error("rvdw-switch", f"= {start:g}: a switch needs a distance above 0 nm to begin at")
        read.set("switch", start, "rvdw-switch", "nm")
        read.set("switch_function", modifier.removesuffix("switch"), source)
    else:
        read.ignore("rvdw-switch", "for switches only")
        plain_cut = modifier in ("none", "exactcutoff")
        read.set("", "not shifted", "vdw-modifier", "" if plain_cut else _SHIFT_NOTE, not plain_cut,
                 default="potential-shift")  # fmt: skip
    correction = mdp.word("dispcorr", "no", ("no", "ener", "enerpres", "allener", "allenerpres"))
    if modifier == "forceswitch" and correction != "no":
        raise mdp.error("DispCorr", f"= {mdp.text('dispcorr')} with a force switch is not done here; use DispCorr = no")
    why = "OpenMM's includes the repulsion, as AllEnerPres does, and acts on the pressure too"
    exact = correction in ("no", "allenerpres")
    read.set("dispersion_correction", correction != "no", "DispCorr", "" if exact else why, not exact, default="no")


def translate_constraints(read: MdpTranslation, flexible: bool) -> None:
    """Settings for rigid bonds.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    flexible : bool
        Whether the topology was asked for without rigid water.

    Raises
    ------
    EngineInputError
        For constraints that are not done.
    """
    mdp = read.mdp
    kind = mdp.word("constraints", "none")
    known = {"none": "none", "hbonds": "h-bonds", "allbonds": "all-bonds", "hangles": "h-angles"}
    if kind not in known:
        names = ", ".join(known.values())
        raise mdp.error("constraints", f"= {mdp.text('constraints')} is not done here; known are {names}")
    read.require("morse", "no", ("no", "off", "false", "0"), "Morse bonds are not done here")
    read.set("constraints", known[kind], "constraints", default="none")
    for name in ("constraint-algorithm", "shake-sor", "shake-tol", "lincs-order", "lincs-iter", "lincs-warnangle"):
        read.ignore(name, "OpenMM's own algorithms hold the same constraints")
    # [ settles ] in the topology make water rigid, and -DFLEXIBLE leaves them out.
    read.result.settings["rigid_water"] = False
    if flexible:
        read.result.note("mapped", "define", "-DFLEXIBLE", read.place("define"), became="water without [ settles ]")
