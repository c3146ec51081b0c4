"""GROMACS' input, a folder's ``.mdp``, ``.gro``, ``.top`` and ``.ndx``, read into settings of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import EngineInputError, StructureError
from ..structures.gromacs_topology import GromacsTopology, macros, read_topology
from ..structures.structure_files import Structure, read_structure
from ..structures.velocity_files import read_velocities
from .index_groups import IndexGroups, default_groups, read_index
from .mdp_dynamics import Thermostat, translate_integrator, translate_pressure, translate_velocities
from .mdp_file import MdpFile
from .mdp_forces import translate_constraints, translate_forces
from .mdp_nnpot import translate_model
from .mdp_output import translate_output
from .mdp_translation import MdpTranslation
from .mdp_unused import refuse_unused
from .translation import IGNORED, MAPPED, Place, Translation


def read_gromacs(
    mdp: str | os.PathLike[str],
    gro: str | os.PathLike[str],
    top: str | os.PathLike[str],
    ndx: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> Translation:
    """Read what ``gmx grompp -f mdp -c gro -p top -n ndx`` would.

    Parameters
    ----------
    mdp, gro, top : str or path-like
        Parameters, structure, topology.
    ndx : str or path-like, optional
        Groups of atoms; without it those that GROMACS makes itself.
    output : str or path-like, optional
        Folder of the run.

    Returns
    -------
    Translation
        Settings, and what became of each option.

    Raises
    ------
    EngineInputError
        With file and line, for what cannot be read or has no counterpart.
    StructureError
        If the structure cannot be read.
    """
    paths = [os.path.abspath(os.path.expanduser(os.fspath(path))) for path in (mdp, gro, top)]
    index = None if ndx is None else os.path.abspath(os.path.expanduser(os.fspath(ndx)))
    options = MdpFile(paths[0])
    result = Translation("GROMACS", paths[0])
    read = MdpTranslation(options, result)
    if output is not None:
        result.settings["output"] = os.fspath(output)
    result.settings |= {"structure": paths[1], "topology": paths[2]}
    for name, path in zip(("structure", "topology"), paths[1:], strict=True):
        result.note(MAPPED, name, path, Place(path), became=f"{name} = {path}")
    topology = _topology(read, paths[2])
    structure = read_structure(paths[1], elements=False)  # those that names tell
    count = sum(kind.size * number for kind, number in topology.molecules)
    if count != len(structure.positions_nm):
        raise EngineInputError(
            f"{paths[1]} has {len(structure.positions_nm)} atoms, and the topology has {count}; give files that belong "
            "together", paths[2],
        )  # fmt: skip
    groups = default_groups(structure.topology) if index is None else read_index(index)
    _check_groups(groups, count)
    _translate(read, groups, structure, topology)
    return result


def _translate(read: MdpTranslation, groups: IndexGroups, structure: Structure, topology: GromacsTopology) -> None:
    """All options, in the order in which they depend on each other."""
    count = len(structure.positions_nm)
    kind = translate_integrator(read)
    translate_model(read, groups, structure)
    temperature = Thermostat(read, groups, count).translate(kind)
    pressed = translate_pressure(read, kind, temperature)
    _restraints(read, topology, pressed)
    translate_forces(read)
    translate_constraints(read, "FLEXIBLE" in (read.result.settings.get("define") or ()))
    translate_velocities(read, kind, structure.path, _has_velocities(structure.path, count), temperature)
    translate_output(read, kind, groups)
    refuse_unused(read)


def _topology(read: MdpTranslation, path: str) -> GromacsTopology:
    """The topology with the macros and folders that the parameters name."""
    mdp = read.mdp
    defines = [_without(read, "define", word, "-D") for word in mdp.texts("define")]
    here = os.path.dirname(mdp.path)
    folders = [os.path.join(here, os.path.expanduser(_without(read, "include", word, "-I")))
               for word in mdp.texts("include")]  # fmt: skip
    for word, folder in zip(mdp.texts("include"), folders, strict=True):
        if not os.path.isdir(folder):
            raise mdp.error("include", f"= {word} names no folder: {folder} is not there")
    topology = read_topology(path, macros(defines), folders)
    if defines:
        unused = f"the topology never mentions {', '.join(topology.unused)}" if topology.unused else ""
        read.set("define", tuple(defines), "define", unused)
    if folders:
        read.set("include", tuple(folders), "include")
    read.done("define", "include")
    for line, why in topology.inert:
        read.result.note(IGNORED, "topology", line.text, Place(line.path, line.number), why=why)
    return topology


def _without(read: MdpTranslation, option: str, word: str, mark: str) -> str:
    if not word.startswith(mark) or len(word) == len(mark):
        raise read.mdp.error(option, f"has {word!r}; expected {mark}NAME")
    return word.removeprefix(mark)


def _restraints(read: MdpTranslation, topology: GromacsTopology, pressed: bool) -> None:
    """Position restraints, and how their reference positions go with the box."""
    mdp = read.mdp
    scaling = mdp.word("refcoord-scaling", "no", ("no", "all", "com"))
    if topology.restraints:
        read.result.note(
            MAPPED, "[ position_restraints ]", f"of {len(topology.restraints)} atoms", Place(topology.path),
            became="a force that holds them", why="at the positions of the .gro, or of --restraint-reference",
        )  # fmt: skip
        if pressed and scaling != "no":
            raise mdp.error("refcoord-scaling", f"= {scaling}: reference positions that move with the box are not done "
                            "here; use no")  # fmt: skip
    read.ignore("refcoord-scaling", "no box changes that would move reference positions"
                if topology.restraints and not pressed else "nothing is restrained" if not topology.restraints
                else "reference positions stay where they are")  # fmt: skip


def _check_groups(groups: IndexGroups, count: int) -> None:
    for group in groups.groups:
        if group.atoms and max(group.atoms) >= count:
            raise EngineInputError(
                f"group {group.name} has atom {max(group.atoms) + 1}, and the structure has {count} atoms",
                groups.path, group.line,
            )  # fmt: skip


def _has_velocities(path: str, count: int) -> bool:
    try:
        read_velocities(path, count)
    except StructureError:
        return False
    return True


def engine_input(files: Sequence[str]) -> Translation:
    """What ``--gromacs`` names: three or four files, told apart by their suffixes where they have them.

    Parameters
    ----------
    files : sequence of str
        Of the command line.

    Returns
    -------
    Translation

    Raises
    ------
    EngineInputError
        As :func:`read_gromacs`, or if files are missing.
    """
    names = (".mdp", ".gro", ".top", ".ndx")
    by_suffix = {os.path.splitext(file)[1].lower(): file for file in files}
    if len(by_suffix) == len(files) and set(by_suffix) <= set(names):
        files = [by_suffix[name] for name in names if name in by_suffix]
        if not set(names[:3]) <= set(by_suffix):
            missing = ", ".join(name for name in names[:3] if name not in by_suffix)
            raise EngineInputError(
                f"--gromacs needs a .mdp, a .gro and a .top, and may have a .ndx; missing: {missing}"
            )
    if not 3 <= len(files) <= 4:
        raise EngineInputError(
            f"--gromacs got {len(files)} files; give PARAMETERS.mdp STRUCTURE.gro TOPOLOGY.top [INDEX.ndx]"
        )
    return read_gromacs(*files)

