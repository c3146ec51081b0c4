"""Settings of a run: one table for the command line, the TOML file and the record kept in the output folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...choices import BACKENDS, DRIVES, KERNELS, RULES
from ..committee_option import checked_committee
from .setting_values import AUTO, checked, relative

ENSEMBLES = ("nve", "nvt", "npt")
OPENMM, LAMMPS = "openmm", "lammps"
ENGINES = (OPENMM, LAMMPS)
#: What a run does; how it keeps the temperature, and which way a box may change.
TASKS = ("md", "minimize", "energy")
THERMOSTATS = ("langevin", "csvr", "nose-hoover")
BAROSTATS = ("isotropic", "semiisotropic", "anisotropic", "xy", "z", "flexible")
#: How a force field treats distant pairs, and which bonds it makes rigid.
NONBONDED = ("auto", "pme", "reaction-field", "no-cutoff")
CONSTRAINTS = ("none", "h-bonds", "all-bonds", "h-angles")
TRAJECTORIES = ("dcd", "xtc", "h5")
#: Who evaluates the model in LAMMPS.
PAIR_STYLES = (AUTO, "none")
#: A million million steps of a tenth of a millisecond take three years.
MOST_STEPS = 10**12
#: More threads than this for each core only wait for each other.
MOST_RANKS = 10**6
MOST_THREADS = 4 * max(16, os.cpu_count() or 1)


def _option(default: Any, kind: str, help: str, **more: Any) -> Any:
    """A setting: ``kind`` is float, int, str, word (or a number), bool, path, paths, floats, strings, count (an int >=
    0) or count_or_auto."""
    return field(default=default, metadata={"kind": kind, "help": help, **more})


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Names are those of the options of ``openmm-nequip run`` and of the TOML keys, with ``_`` for ``-``; their meaning
    stands in the help texts below. Units are those of the command line: K, bar, fs, 1/ps, Å.
    """

    model: str | None = _option(None, "path", "model file or nequip.net: id", metavar="FILE")
    committee: tuple[str, ...] | None = _option(
        None, "paths", "further models of the same types: the mean of all moves the atoms, and how far they are from "
        "each other is written to deviation.csv", metavar="FILE",
    )  # fmt: skip
    drive: str | None = _option(
        None, "word", "what moves the atoms: the mean of a committee (default) or 0, its first model, alone",
        choices=tuple(map(str, DRIVES)),
    )  # fmt: skip
    deviation_interval: int | None = _option(
        None, "int", "steps between looks at a committee (default: --report-interval)", metavar="N", least=1,
        most=MOST_STEPS,
    )  # fmt: skip
    deviation_select: float | None = _option(
        None, "float", "keep frames above this deviation of a committee in selected.extxyz, no two alike",
        metavar="eV/Å", above=0.0,
    )  # fmt: skip
    deviation_stop: float | None = _option(
        None, "float", "stop above this deviation; more than --deviation-select", metavar="eV/Å", above=0.0
    )
    committee_bias: tuple[float, ...] | None = _option(
        None, "floats", "keep the run where a committee agrees: spread of the energy up to which nothing is added, and "
        "force constant beyond it", metavar=("EV", "1/EV"),
    )  # fmt: skip
    structure: str | None = _option(None, "path", "starting structure", metavar="FILE")
    velocities: str | None = _option(
        None, "path", "file with the velocities of the start, instead of drawn ones: .gro, "
        "or .npy in nm/ps", metavar="FILE",
    )  # fmt: skip
    output: str | None = _option(None, "path", "folder for everything the run writes", metavar="DIR")
    task: str = _option(
        "md", "str", "md: dynamics; minimize: a geometry optimisation alone; energy: energy, forces and stress of the "
        "structure", choices=TASKS,
    )  # fmt: skip
    ensemble: str = _option("nvt", "str", "what is kept constant", choices=ENSEMBLES)
    temperature: float = _option(
        300.0, "float", "temperature; for nve that of the start", metavar="K", above=0.0, most=1e6
    )
    start_temperature: float | None = _option(
        None, "float", "temperature of the drawn velocities at the start (default: --temperature)", metavar="K",
        least=0.0, most=1e6,
    )  # fmt: skip
    pressure: float = _option(1.0, "float", "pressure, for npt", metavar="bar", least=-1e7, most=1e7)
    timestep: float = _option(0.5, "float", "time step", metavar="fs", above=0.0)
    steps: int = _option(
        10000, "count", "production steps in total, those before a restart included", metavar="N", most=MOST_STEPS
    )
    minimize: bool = _option(True, "bool", "relax the structure first")
    equilibrate: int | str = _option(
        AUTO, "count_or_auto", "steps with a thermostat before production; auto: until temperature, energy and density "
        "have settled, at most as many as --steps", metavar="N", most=MOST_STEPS,
    )  # fmt: skip
    friction: float = _option(1.0, "float", "friction of the Langevin thermostat", metavar="1/ps", least=0.0, most=1e6)
    thermostat: str = _option(
        "langevin", "str", "what keeps the temperature in production: Langevin dynamics, stochastic velocity rescaling "
        "(v-rescale, CSVR) or a Nosé-Hoover chain", choices=THERMOSTATS,
    )  # fmt: skip
    thermostat_time: float = _option(
        100.0, "float", "time constant of csvr, period of nose-hoover", metavar="fs", above=0.0, most=1e9
    )
    thermostat_chain: int = _option(3, "int", "length of the Nosé-Hoover chain", metavar="N", least=1, most=100)
    barostat: str = _option(
        "isotropic", "str", "what a Monte Carlo barostat changes in npt: the volume; x and y together, and z; the "
        "three edges; x and y together alone; z alone; or all of the cell", choices=BAROSTATS,
    )  # fmt: skip
    force_tolerance: float = _option(
        10.0, "float", "task minimize ends where no force on an atom is larger", metavar="kJ/mol/nm", above=0.0,
        most=1e9,
    )  # fmt: skip
    iterations: int = _option(
        1000, "int", "iterations that task minimize takes at most", metavar="N", least=1, most=MOST_STEPS
    )
    seed: int | None = _option(
        None, "count", "seed of all random numbers (default: drawn)", metavar="N", most=2**31 - 1
    )
    report_interval: int = _option(
        100, "int", "steps between frames and log rows", metavar="N", least=1, most=MOST_STEPS
    )
    log_interval: int | None = _option(
        None, "int", "steps between log rows (default: --report-interval)", metavar="N", least=1, most=MOST_STEPS
    )
    checkpoint_interval: int = _option(1000, "int", "steps between checkpoints", metavar="N", least=1, most=MOST_STEPS)
    stress_interval: int | None = _option(
        None, "int", "steps between rows of stress.csv, for periodic systems (default: none is written)", metavar="N",
        least=1, most=MOST_STEPS,
    )  # fmt: skip
    trajectory: str = _option("dcd", "str", "format of the trajectory", choices=TRAJECTORIES)
    wrap: str = _option(
        "none", "str", "molecules: put whole into the box in each frame; none: followed through its faces, as "
        "diffusion needs it", choices=("molecules", "none"),
    )  # fmt: skip
    reactive: bool = _option(False, "bool", "bonds may break and form: do not watch them")
    box: tuple[float, ...] | None = _option(
        None, "floats", "3 edges or 9 vector components, instead of the file's box", metavar="Å"
    )
    periodic: bool = _option(True, "bool", "use the box of the structure; --no-periodic: leave it out")
    frame: int = _option(-1, "int", "frame of the structure file, from 0; negative from the end", metavar="N")
    bonds: str = _option(
        "auto", "str", "which atoms form molecules: by the file, and by distance where it says nothing (auto), "
        "by the file only, or none", choices=("auto", "file", "none"),
    )  # fmt: skip
    units: tuple[str, ...] | None = _option(
        None, "strings", "the model's units of length and energy (default: those its file states, else angstrom eV)",
        metavar=("LENGTH", "ENERGY"),
    )  # fmt: skip
    types: tuple[str, ...] | None = _option(
        None, "strings", "model type (name or index) of each atom, or one file with them (default: by element)",
        metavar="TYPE", files=True,
    )  # fmt: skip
    engine: str = _option(
        OPENMM, "str", "who takes the steps; lammps: on many ranks, for systems that one machine is too small for",
        choices=ENGINES,
    )  # fmt: skip
    ranks: int = _option(
        1, "int", "MPI processes that share the system, for the engine lammps", metavar="N", least=1, most=MOST_RANKS
    )
    pair_style: str = _option(
        "auto", "str", "for the engine lammps; auto: by pair_nequip, pair_allegro or ML-IAP, with files as `export` "
        "writes them, where this LAMMPS has one for the model and the ranks; none: by nequip's modules on CPUs",
        choices=PAIR_STYLES,
    )  # fmt: skip
    rank_timeout: float | None = _option(
        None, "float", "seconds after which ranks that take no step are ended (default: 100 times the longest step so "
        "far, at least 300); at least 3600 for what comes before steps", metavar="S", above=0.0, most=1e9,
    )  # fmt: skip
    ml_atoms: str | None = _option(
        None, "str", "atoms that the model describes, in mdtraj's language; a force field describes the rest",
        metavar="SELECTION",
    )  # fmt: skip
    forcefield: tuple[str, ...] | None = _option(
        None, "strings", "OpenMM force-field files for a hybrid run, e.g. amber14-all.xml amber14/tip3p.xml",
        metavar="FILE", files=True,
    )  # fmt: skip
    topology: str | None = _option(
        None, "path", "Amber prmtop or GROMACS top for a hybrid run, instead of --forcefield", metavar="FILE"
    )
    define: tuple[str, ...] | None = _option(
        None, "strings", "macros of a GROMACS top, e.g. POSRES or NAME=VALUE", metavar="MACRO"
    )
    include: tuple[str, ...] | None = _option(
        None, "paths", "folders with files that a GROMACS top includes, before those of GMXLIB and GMXDATA",
        metavar="DIR",
    )  # fmt: skip
    restraint_reference: str | None = _option(
        None, "path", "structure with the reference positions of a GROMACS top's position restraints (default: "
        "--structure)", metavar="FILE",
    )  # fmt: skip
    nonbonded: str = _option(
        "auto", "str", "distant pairs of the force field; auto: pme, or no-cutoff without a box", choices=NONBONDED
    )
    cutoff: float | None = _option(
        None, "float", "non-bonded cutoff of the force field (default: 0.9, or less in a narrow box)", metavar="NM",
        above=0.0,
    )  # fmt: skip
    switch: float | None = _option(
        None, "float", "where Lennard-Jones interactions begin to be switched off", metavar="NM", above=0.0
    )
    switch_function: str = _option(
        "potential", "str", "what goes to zero smoothly from --switch to the cutoff", choices=("potential", "force")
    )
    dispersion_correction: bool | None = _option(
        None, "bool", "add the mean Lennard-Jones interaction beyond the cutoff (default: as OpenMM has it, on)"
    )
    dielectric: float | None = _option(
        None, "float", "relative permittivity beyond the cutoff of a reaction field, 0 for infinite (default: "
        "OpenMM's, 78.3)", metavar="EPSILON", least=0.0,
    )  # fmt: skip
    ewald_alpha: float | None = _option(
        None, "float", "splitting of PME; with --pme-spacing (default: by OpenMM's error tolerance)", metavar="1/NM",
        above=0.0,
    )  # fmt: skip
    pme_spacing: float | None = _option(
        None, "float", "largest spacing of PME's mesh; with --ewald-alpha", metavar="NM", above=0.0
    )
    constraints: str = _option("h-bonds", "str", "rigid bonds of the force field", choices=CONSTRAINTS)
    rigid_water: bool = _option(True, "bool", "rigid water, whatever --constraints says")
    region_constraints: str = _option(
        "rule", "str", "constraints between the model's atoms: as --rule has it (gromacs keeps, others remove them)",
        choices=("rule", "keep", "remove"),
    )  # fmt: skip
    com_interval: int | None = _option(
        None, "count", "steps between removals of the motion of the centre of mass in a hybrid run, 0 for never "
        "(default: as the force field's reader has it, 1)", metavar="N", most=2**31 - 1,
    )  # fmt: skip
    link_element: str = _option(
        "H", "str", "element of the caps on the bonds that the model's region cuts; none: no caps", metavar="ELEMENT"
    )
    link_distance: float | None = _option(
        None, "float", "distance of these caps (default: the sum of covalent radii)", metavar="NM", above=0.0, most=1.0
    )
    solvate: float | None = _option(
        None, "float", "add water around the structure, with this padding", metavar="NM", above=0.0
    )
    rule: str = _option("openmm-ml", "str", "which bonded terms the model replaces", choices=RULES)
    platform: str | None = _option(None, "str", "OpenMM platform (default: the fastest)", metavar="NAME")
    device: str | None = _option(None, "str", "torch device of the model (default: the platform's)", metavar="NAME")
    backend: str = _option("auto", "str", "OpenMM force that calls the model", choices=BACKENDS)
    compile: bool | None = _option(None, "bool", "compile checkpoints and packages (default: where possible)")
    kernels: str = _option("auto", "str", "fused CPU kernels for NequIP checkpoints and packages", choices=KERNELS)
    tables: bool = _option(True, "bool", "tabulate radial networks in fused kernels, to rounding noise")
    modifiers: tuple[str, ...] | None = _option(
        None, "strings", "nequip's modifiers for CUDA, e.g. enable_OpenEquivariance (default: those installed)",
        metavar="NAME",
    )  # fmt: skip
    cuda_graphs: str = _option("auto", "str", "replay steps on a GPU from a CUDA graph", choices=("auto", "on", "off"))
    input: tuple[str, ...] | None = _option(
        None, "strings", "what the model takes beside the structure: charge=1", metavar="NAME=VALUE"
    )
    remove_reference_energy: bool | None = _option(
        None, "bool", "TorchMD-Net models trained on energies less those of free atoms: give these, or (no-) the whole "
        "energies (default: as the file says)",
    )  # fmt: skip
    max_neighbors: int | None = _option(
        None, "int", "TorchMD-Net: neighbours of an atom there is room for (default: the file's)", metavar="N",
        least=1, most=10**6,
    )  # fmt: skip
    coulomb_cutoff: float | None = _option(
        None, "float", "TorchMD-Net: cutoff of the model's own Coulomb term", metavar="Å", above=0.0
    )
    module_inputs: tuple[str, ...] | None = _option(
        None, "strings", "what a TorchScript module of no known format takes, in order: atom-positions atom-numbers "
        "box pbc", metavar="NAME",
    )  # fmt: skip
    bias: tuple[str, ...] | None = _option(
        None, "strings", "harmonic biases: 'distance I J CENTRE K' (Å, kJ/mol/Å²), 'angle I J L CENTRE K' or "
        "'torsion I J L M CENTRE K' (degrees, kJ/mol/rad²), atoms from 0", metavar="BIAS",
    )  # fmt: skip
    threads: int | None = _option(
        None, "int", "CPU threads (default: all cores)", metavar="N", least=1, most=MOST_THREADS
    )
    trusted: str | None = _option(None, "str", "SHA-256 that the model file must have", metavar="SHA256")

    @property
    def declared_model(self) -> Any:
        """The model, with what it takes where that is declared, or the committee."""
        from ...models.committee_path import with_committee  # loads torch
        from ...models.modules.declared_path import declared

        return with_committee(declared(self.model or "", self.module_inputs), self.committee, self.drive)

    @property
    def deviation_options(self) -> list[str]:
        """Options about the deviation of a committee that were given."""
        names = ("deviation_interval", "deviation_select", "deviation_stop")
        return [f"--{option_name(name)}" for name in names if getattr(self, name) is not None]

    @property
    def length_unit(self) -> str | None:
        """Unit of length of the model, None for the default."""
        return None if self.units is None else self.units[0]

    @property
    def energy_unit(self) -> str | None:
        """Unit of energy of the model, None for the default."""
        return None if self.units is None else self.units[1]

    def as_settings(self) -> dict[str, Any]:
        """Settings that are not None, by name."""
        values = {setting.name: getattr(self, setting.name) for setting in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def to_toml(self, folder: Path | None = None) -> str:
        """The settings as a TOML file that ``--config`` reads.

        Parameters
        ----------
        folder : pathlib.Path, optional
            Where the file will lie: paths near it are written relative to it.
        """
        lines = []
        for name, value in self.as_settings().items():
            facts = type(self).__dataclass_fields__[name].metadata
            if folder is not None and facts["kind"] == "path":
                value = relative(value, folder)
            elif folder is not None and (facts.get("files") or facts["kind"] == "paths"):
                value = tuple(relative(item, folder) for item in value)
            # JSON's strings, numbers, booleans and arrays of these are TOML's.
            written = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
            lines.append(f"{name.replace('_', '-')} = {written}")
        return "\n".join(lines) + "\n"


def option_name(name: str) -> str:
    """A setting as the user writes it."""
    return name.replace("_", "-")


def make_config(*layers: Mapping[str, Any]) -> RunConfig:
    """Settings from several sources, later ones winning over earlier ones.

    Parameters
    ----------
    layers : mapping of str to value
        Settings by name, with ``_`` or ``-``.

    Returns
    -------
    RunConfig
        Checked; paths absolute, the seed drawn if nobody gave one.

    Raises
    ------
    ValueError
        For an unknown name, a value of the wrong kind or out of range, or if model, structure or output are missing.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= check_settings(layer)
    merged = checked_committee(merged)
    missing = [name for name in ("model", "structure", "output") if merged.get(name) is None]
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise ValueError(f"a run needs {options} (or {', '.join(missing)} in the --config file)")
    if merged.get("seed") is None:
        import secrets

        merged["seed"] = secrets.randbelow(2**31 - 2) + 1
    if (merged.get("ewald_alpha") is None) != (merged.get("pme_spacing") is None):
        raise ValueError("ewald-alpha and pme-spacing belong together; give both or neither")
    if merged.get("units") is not None and len(merged["units"]) != 2:
        raise ValueError(f"units={list(merged['units'])}: give two, length and energy, e.g. angstrom eV")
    return RunConfig(**merged)


def check_settings(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of one source, each after checking it.

    Parameters
    ----------
    layer : mapping of str to value
        Settings by name, with ``_`` or ``-``.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        For an unknown name, or a value of the wrong kind or out of range.
    """
    known = {setting.name: setting.metadata for setting in fields(RunConfig)}
    named = {key: key.replace("-", "_") for key in layer}
    for key in (key for key, name in named.items() if name not in known):
        raise ValueError(f"setting {key!r} is unknown; the settings are {', '.join(map(option_name, known))}")
    return {name: checked(option_name(name), layer[key], known[name]) for key, name in named.items()}
