"""How atoms move in a GROMACS ``.mdp``: integrator, temperature, pressure, velocities, and what is written when."""

from __future__ import annotations

from collections.abc import Sequence

from .index_groups import IndexGroup, IndexGroups
from .mdp_translation import MdpTranslation

_FS_PER_PS = 1000.0
_MINIMIZERS = {
    "steep": "steepest descents", "cg": "conjugate gradients", "lbfgs": "low-memory BFGS, as OpenMM does it",
}  # fmt: skip
_DYNAMICS = ("md", "mdvv", "mdvvavek", "sd")
_ONE_SEED = "the numbers that follow from it are others than GROMACS'"


def translate_integrator(read: MdpTranslation) -> str:
    """Settings for the integrator, its step and how many.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.

    Returns
    -------
    str
        ``"md"``, ``"sd"`` or ``"minimize"``.

    Raises
    ------
    EngineInputError
        For an integrator that has no counterpart, or a bad number.
    """
    mdp = read.mdp
    name = mdp.word("integrator", "md")
    steps = mdp.count("nsteps", 0)
    if name not in (*_DYNAMICS, *_MINIMIZERS):
        raise mdp.error(
            "integrator", f"= {mdp.text('integrator')} has no counterpart here; known are md, md-vv, sd, steep, cg and "
            "l-bfgs",
        )  # fmt: skip
    if steps < 0:
        raise mdp.error("nsteps", f"= {steps}, without end: give a number of steps")
    read.ignore("tinit", "times count from 0")
    read.ignore("init-step", "steps count from 0")
    read.ignore("simulation-part", "runs are continued by --restart")
    if name in _MINIMIZERS:
        same = name == "lbfgs"
        read.set("task", "minimize", "integrator", "" if same else f"L-BFGS in place of {_MINIMIZERS[name]}", not same)
        read.set("iterations", max(steps, 1), "nsteps")
        read.set("force_tolerance", mdp.number("emtol", 10.0), "emtol", "kJ/mol/nm")
        for option in ("emstep", "nstcgsteep", "nbfgscorr", "niter", "fcstep", "dt"):
            read.ignore(option, "L-BFGS finds its own steps")
        return "minimize"
    for option in ("emtol", "emstep", "nstcgsteep", "nbfgscorr", "niter", "fcstep"):
        read.ignore(option, "nothing is minimised")
    if name == "md":
        read.set("", "leapfrog Verlet", "integrator", default="md")
    elif name != "sd":
        read.set("", "leapfrog Verlet", "integrator", "the same positions as velocity Verlet; the velocities are those "
                 "of half steps", replaced=True)  # fmt: skip
    read.set("timestep", mdp.number("dt", 0.001) * _FS_PER_PS, "dt", "fs", default="0.001")
    if steps == 0:
        read.set("task", "energy", "nsteps", "no step: energy and forces of the structure", default="0")
    else:
        read.set("steps", steps, "nsteps")
    # What is started here has been minimised and equilibrated, or not, as its folder has it.
    read.result.settings |= {"minimize": False, "equilibrate": 0}
    return "sd" if name == "sd" else "md"


class Thermostat:
    """Temperature coupling.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    groups : IndexGroups
        Groups of atoms.
    count : int
        Number of atoms.
    """

    def __init__(self, read: MdpTranslation, groups: IndexGroups, count: int) -> None:
        self._read, self._mdp = read, read.mdp
        self._groups, self._count = groups, count

    def translate(self, kind: str) -> float | None:
        """Settings for the ensemble and its thermostat.

        Parameters
        ----------
        kind : str
            What :func:`translate_integrator` said.

        Returns
        -------
        float or None
            The temperature in K; None where none is kept.

        Raises
        ------
        EngineInputError
            For a thermostat without a counterpart, groups that are not there, or temperatures that differ.
        """
        read, mdp = self._read, self._mdp
        coupling = mdp.word("tcoupl", "no")
        read.ignore("nsttcouple", "the thermostat acts in every step")
        if kind == "minimize":
            for name in ("tcoupl", "tc-grps", "tau-t", "ref-t", "nh-chain-length"):
                read.ignore(name, "nothing moves by itself in a minimisation")
            return None
        self._refuse(coupling)
        if kind == "sd":
            read.ignore("tcoupl", "integrator sd keeps the temperature itself")
            coupling = "sd"
        if coupling == "no":
            for name in ("tc-grps", "tau-t", "ref-t", "nh-chain-length"):
                read.ignore(name, "tcoupl = no")
            read.set("ensemble", "nve", "tcoupl", default="no")
            return None
        temperature, tau = self._one_bath()
        if temperature is None:
            read.set("ensemble", "nve", "tcoupl", "no group is coupled")
            return None
        read.set("ensemble", "nvt", "integrator" if coupling == "sd" else "tcoupl", why="")
        read.set("temperature", temperature, "ref-t", "K")
        self._bath(coupling, tau, kind)
        return temperature

    def _refuse(self, coupling: str) -> None:
        known = ("no", "vrescale", "nosehoover", "berendsen", "andersen", "andersenmassive", "yes")
        if coupling not in known:
            raise self._mdp.error("tcoupl", f"= {self._mdp.text('tcoupl')}; known are no, v-rescale and nose-hoover")
        if coupling in ("berendsen", "yes"):
            raise self._mdp.error(
                "tcoupl", "= berendsen does not give the canonical ensemble and is not done here; use v-rescale, which "
                "relaxes in the same way and does"
            )  # fmt: skip
        if coupling.startswith("andersen"):
            raise self._mdp.error(
                "tcoupl", f"= {self._mdp.text('tcoupl')} is not done here; use v-rescale, or integrator = sd, which "
                "draws velocities as well",
            )  # fmt: skip

    def _bath(self, coupling: str, tau: float, kind: str) -> None:
        read, mdp = self._read, self._mdp
        if coupling == "sd":
            words = "Langevin dynamics, in OpenMM's middle scheme"
            read.set("thermostat", "langevin", "integrator", words, replaced=True)
            read.set("friction", 1.0 / tau, "tau-t", "friction in 1/ps")
        elif coupling == "vrescale":
            read.set("thermostat", "csvr", "tcoupl", "stochastic velocity rescaling, exactly")
            read.set("thermostat_time", tau * _FS_PER_PS, "tau-t", "fs")
        else:
            read.set("thermostat", "nose-hoover", "tcoupl")
            read.set("thermostat_time", tau * _FS_PER_PS, "tau-t", "period in fs")
            chain = mdp.count("nh-chain-length", 10)
            if mdp.word("integrator", "md") == "md":
                # GROMACS takes a chain of one for the leapfrog integrator, whatever is asked for.
                words = "with integrator md GROMACS' own length"
                read.set("thermostat_chain", 1, "nh-chain-length", words, default="10")
                return
            read.set("thermostat_chain", chain, "nh-chain-length", default="10")
        read.ignore("nh-chain-length", "for tcoupl = nose-hoover only")

    def _one_bath(self) -> tuple[float | None, float]:
        """Temperature and time constant (ps) of the one bath that the groups amount to."""
        read, mdp = self._read, self._mdp
        names, taus, temperatures = mdp.texts("tc-grps"), mdp.numbers("tau-t"), mdp.numbers("ref-t")
        for option, found in (("tau-t", taus), ("ref-t", temperatures)):
            if len(found) != len(names):
                raise mdp.error(option, f"has {len(found)} values for {len(names)} groups in tc-grps")
        if not names:
            raise mdp.error("tc-grps", "names no group, and the temperature is to be kept; System is all atoms")
        cover(read, "tc-grps", [group_of(read, "tc-grps", name, self._groups) for name in names], self._count)
        coupled = [k for k, tau in enumerate(taus) if tau > 0]
        if not coupled:
            return None, 0.0
        if len(coupled) < len(names):
            loose = names[next(k for k in range(len(names)) if k not in coupled)]
            raise mdp.error("tau-t", f"leaves group {loose} without a thermostat and couples others; a run here "
                            "couples all atoms or none")  # fmt: skip
        if min(temperatures) != max(temperatures):
            raise mdp.error(
                "ref-t", f"= {mdp.text('ref-t')}: groups at different temperatures are no equilibrium, and a run here "
                "has one temperature; give one value",
            )  # fmt: skip
        if temperatures[0] <= 0:
            raise mdp.error("ref-t", f"= {mdp.text('ref-t')}: a thermostat needs a temperature above 0 K")
        one = len(names) == 1
        why = "" if one else "one thermostat for all atoms; the ensemble is the same"
        why += f", and of the time constants the shortest, {min(taus):g} ps" if min(taus) != max(taus) else ""
        read.set("", "all atoms", "tc-grps", why, replaced=not one)
        return temperatures[0], min(taus)


def group_of(read: MdpTranslation, option: str, name: str, groups: IndexGroups) -> IndexGroup:
    """A group that an option names.

    Parameters
    ----------
    read : MdpTranslation
        Options.
    option : str
        Which one.
    name : str
        The group.
    groups : IndexGroups
        Those that there are.

    Returns
    -------
    IndexGroup

    Raises
    ------
    EngineInputError
        If there is none of that name, or it is empty.
    """
    group = groups.find(name)
    if group is None:
        own = "no index file was given, and GROMACS' own groups here are"
        where = own if groups.path is None else f"{groups.path} has"
        raise read.mdp.error(option, f"names the group {name!r}; {where} {groups.names}")
    if not group.atoms:
        raise read.mdp.error(option, f"names the group {name!r}, which is empty ({groups.path}:{group.line})")
    return group


def cover(read: MdpTranslation, option: str, groups: Sequence[IndexGroup], count: int) -> None:
    """Refuse groups that share atoms or leave some out, or have atoms that are not there.

    Parameters
    ----------
    read, option
        As :func:`group_of`.
    groups : sequence of IndexGroup
        The groups.
    count : int
        Number of atoms.

    Raises
    ------
    EngineInputError
        If they do.
    """
    owner: dict[int, str] = {}
    for group in groups:
        for i in group.atoms:
            if i >= count:
                raise read.mdp.error(option, f"names {group.name}, which has atom {i + 1}; there are {count} atoms")
            if i in owner and owner[i] != group.name:
                raise read.mdp.error(option, f"puts atom {i + 1} into {owner[i]} and into {group.name}; into one only")
            owner[i] = group.name
    if len(owner) < count:
        missing = next(i for i in range(count) if i not in owner)
        raise read.mdp.error(option, f"leaves out {count - len(owner)} atoms, the first is {missing + 1}; name groups "
                             "that have all atoms between them")  # fmt: skip


def translate_pressure(read: MdpTranslation, kind: str, temperature: float | None) -> bool:
    """Settings for the barostat.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    kind : str
        What :func:`translate_integrator` said.
    temperature : float or None
        In K.

    Returns
    -------
    bool
        Whether there is one.

    Raises
    ------
    EngineInputError
        For a coupling without a counterpart.
    """
    mdp = read.mdp
    coupling = mdp.word("pcoupl", "no", ("no", "crescale", "parrinellorahman", "berendsen", "mttk", "yes"))
    others = ("pcoupltype", "tau-p", "compressibility", "ref-p", "nstpcouple", "refcoord-scaling")
    if kind == "minimize" or coupling == "no":
        read.ignore("pcoupl", "nothing moves by itself in a minimisation" if kind == "minimize" else "asks for nothing")
        for name in others:
            read.ignore(name, "no pressure is kept")
        return False
    if coupling in ("berendsen", "yes"):
        raise mdp.error("pcoupl", "= berendsen does not give the right ensemble and is not done here; use C-rescale")
    if temperature is None:
        raise mdp.error("pcoupl", "without a thermostat: a Monte Carlo barostat needs a temperature; set tcoupl too")
    words = "a Monte Carlo barostat: the same ensemble, other volume dynamics"
    read.set("ensemble", "npt", "pcoupl", words, replaced=True)
    _axes(read)
    read.ignore("tau-p", "a Monte Carlo barostat has no time constant", default="5")
    read.ignore("nstpcouple", "the barostat acts every 25 steps")
    return True


def _axes(read: MdpTranslation) -> None:
    mdp = read.mdp
    kind = mdp.word("pcoupltype", "isotropic", ("isotropic", "semiisotropic", "anisotropic", "surfacetension"))
    counts = {"isotropic": 1, "semiisotropic": 2, "anisotropic": 6}
    if kind == "surfacetension":
        raise mdp.error("pcoupltype", "= surface-tension is not done here; use semiisotropic")
    pressures, soft = mdp.numbers("ref-p"), mdp.numbers("compressibility")
    for option, found in (("ref-p", pressures), ("compressibility", soft)):
        if len(found) != counts[kind]:
            raise mdp.error(option, f"has {len(found)} values; pcoupltype = {kind} needs {counts[kind]}")
    axes = pressures[:3]
    if min(axes) != max(axes):
        raise mdp.error("ref-p", f"= {mdp.text('ref-p')}: a run here has one pressure; give equal values")
    if any(pressures[3:]):
        raise mdp.error("ref-p", f"= {mdp.text('ref-p')}: shear pressures are not done here; give 0 for the last three")
    if not any(soft):
        raise mdp.error("compressibility", "is 0 everywhere, so that no box could change; set pcoupl = no")
    free = tuple(value > 0 for value in soft)
    barostats = {
        (True,): "isotropic", (True, True): "semiisotropic", (True, False): "xy", (False, True): "z",
        (True,) * 3 + (False,) * 3: "anisotropic", (False, False, True, False, False, False): "z",
        (True,) * 6: "flexible",
    }  # fmt: skip
    if free not in barostats:
        raise mdp.error("compressibility", f"= {mdp.text('compressibility')}: boxes free in these directions only are "
                        "not done here")  # fmt: skip
    read.set("barostat", barostats[free], "pcoupltype", default="isotropic")
    read.set("pressure", pressures[0], "ref-p", "bar")
    read.ignore("compressibility", "a Monte Carlo barostat finds its own; which are 0 has been minded")


def translate_velocities(read: MdpTranslation, kind: str, gro: str, stated: bool, temperature: float | None) -> None:
    """Settings for the velocities at the start, and the seed.

    Parameters
    ----------
    read : MdpTranslation
        Options and settings.
    kind : str
        What :func:`translate_integrator` said.
    gro : str
        The structure.
    stated : bool
        Whether it has velocities.
    temperature : float or None
        Of the thermostat in K.

    Raises
    ------
    EngineInputError
        For a bad value.
    """
    mdp = read.mdp
    draw = mdp.flag("gen-vel") and kind != "minimize"
    seeds = ("gen-seed", "ld-seed") if draw else ("ld-seed", "gen-seed")
    for name, used in zip(seeds, (True, False), strict=True):
        seed = mdp.count(name, -1)
        if used and seed >= 0 and kind != "minimize":
            read.set("seed", seed, name, _ONE_SEED)
        else:
            read.ignore(name, "drawn" if used else "one seed serves all random numbers")
    if kind == "minimize":
        for name in ("gen-vel", "gen-temp", "continuation"):
            read.ignore(name, "nothing moves in a minimisation")
        return
    read.set("", "positions and velocities as they are", "continuation") if mdp.flag("continuation") else read.ignore(
        "continuation", "constraints are applied to the start"
    )
    if draw:
        start = mdp.number("gen-temp", 300.0)
        read.set("", "velocities drawn, and scaled to the temperature", "gen-vel")
        read.set("temperature" if temperature is None else "start_temperature", start, "gen-temp", "K", default="300")
        return
    read.ignore("gen-temp", "gen-vel = no")
    if stated:
        read.set("velocities", gro, "gen-vel", "the velocities of the .gro", default="no")
        return
    read.set("", "velocities of zero", "gen-vel", f"{gro} has none", default="no")
    read.result.settings["start_temperature"] = 0.0
    read.result.warnings.append(f"{gro} has no velocities and gen-vel is no: the run starts at rest, as GROMACS does")
