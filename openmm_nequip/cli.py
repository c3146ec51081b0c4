"""The command ``openmm-nequip``: parses arguments, calls the library, prints."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from ._version import __version__

PROGRAM = "openmm-nequip"
OK, FAILED, USAGE = 0, 1, 2


class Answer(NamedTuple):
    """What a command has to say."""

    document: dict[str, Any]  #: for ``--json``
    text: str  #: for a person
    code: int = OK  #: exit code


class UsageError(Exception):
    """Arguments that argparse lets pass and that do not make a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 128 + n ended by signal n. Wrong usage exits with 2.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    try:
        with _console(arguments):
            answer: Answer = arguments.command(arguments)
    except UsageError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.stderr.write(f"{PROGRAM}: interrupted\n")
        return 128 + signal.SIGINT
    except Exception as error:
        if arguments.debug:
            traceback.print_exc()
        sys.stderr.write(f"{PROGRAM}: error: {_one_line(error)}\n")
        return FAILED
    text = json.dumps(answer.document, indent=2) if arguments.json else answer.text
    sys.stdout.write(text + "\n")
    return answer.code


def _one_line(error: BaseException) -> str:
    from .simulate.failures import first_line

    expected = isinstance(error, (ValueError, OSError, RuntimeError, ImportError, TypeError))
    return first_line(error) if expected else f"{type(error).__name__}: {first_line(error)} (--debug shows where)"


@contextlib.contextmanager
def _console(arguments: argparse.Namespace) -> Iterator[None]:
    """Log and warn to stderr, one line each, and keep stdout for the answer."""
    from tqdm.auto import tqdm

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tqdm.write(self.format(record), file=sys.stderr)

    handler = Handler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    package = logging.getLogger(__package__)
    level = package.level
    package.addHandler(handler)
    # --quiet is about the terminal; the log that a run keeps in its folder gets everything.
    handler.setLevel(logging.WARNING if arguments.quiet else logging.NOTSET)
    package.setLevel(logging.DEBUG if arguments.debug else logging.INFO)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.showwarning = _show_warning
            yield
    finally:
        package.removeHandler(handler)
        package.setLevel(level)


def _show_warning(message: Any, category: Any, filename: str, *_: Any, **__: Any) -> None:
    # Other packages' advice to their programmers is noise to a person at the terminal.
    if __package__ in filename or "openmm" in filename:
        logging.getLogger(__package__).warning("warning: %s", str(message).splitlines()[0])


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="NequIP and Allegro models in OpenMM.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document on stdout and nothing else there")
    common.add_argument("--quiet", action="store_true", help="only warnings on stderr")
    common.add_argument("--debug", action="store_true", help="show tracebacks and what goes on inside")
    for add in (_add_info, _add_energy, _add_run, _add_demo, _add_bench):
        add(commands, common)
    return parser


def _add_info(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser("info", parents=[common], help="what a model file is", description=_info.__doc__)
    parser.add_argument("model", metavar="MODEL", help="model file or nequip.net: id")
    parser.add_argument("--device", help="torch device to load it on (default: cpu)")
    parser.add_argument("--trusted", metavar="SHA256", help="SHA-256 that the file must have")
    parser.set_defaults(command=_info)


def _add_energy(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "energy", parents=[common], help="energy and forces of one structure", description=_energy.__doc__
    )
    parser.add_argument("model", metavar="MODEL", help="model file or nequip.net: id")
    parser.add_argument("structure", metavar="STRUCTURE", help="PDB, mmCIF, GRO, extxyz, CIF, POSCAR, ...")
    parser.add_argument("--box", nargs="+", type=float, metavar="Å", help="3 edges or 9 vector components")
    parser.add_argument("--frame", type=int, default=-1, metavar="N", help="frame of the file, from 0 (default: last)")
    parser.add_argument("--units", nargs=2, metavar=("LENGTH", "ENERGY"), help="the model's units (angstrom eV)")
    parser.add_argument("--length-unit", metavar="UNIT", help="the model's unit of length: angstrom, nm or bohr")
    parser.add_argument("--energy-unit", metavar="UNIT", help="and of energy: eV, kJ/mol, kcal/mol or hartree")
    parser.add_argument("--types", nargs="+", metavar="TYPE", help="model type of each atom, or one file with them")
    parser.add_argument("--forces", metavar="FILE", help="write forces: .npy or .csv in kJ/mol/nm, .extxyz in eV/Å")
    parser.add_argument("--device", help="torch device (default: cpu)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False,
        help="compile a checkpoint or package first; a minute the first time, not worth it for one structure",
    )  # fmt: skip
    parser.add_argument(
        "--kernels", choices=("auto", "none", "fused"), default="auto",
        help="fused: run a NequIP checkpoint or package by the fused CPU kernels (auto: with --compile)",
    )  # fmt: skip
    parser.add_argument("--trusted", metavar="SHA256", help="SHA-256 that the model file must have")
    parser.set_defaults(command=_energy)


def _add_run(commands: Any, common: argparse.ArgumentParser) -> None:
    from .simulate.config import RunConfig, option_name

    parser = commands.add_parser("run", parents=[common], help="molecular dynamics", description=_run.__doc__)
    parser.add_argument("--config", metavar="FILE.toml", help="settings by the same names; the command line wins")
    parser.add_argument("--restart", action="store_true", help="go on from the last checkpoint in --output")
    kinds = {"float": float, "floats": float, "int": int, "count": int}
    for setting in fields(RunConfig):
        facts = setting.metadata
        shown = "" if setting.default is None else f" (default: {str(setting.default).lower()})"
        more: dict[str, Any] = {"default": argparse.SUPPRESS, "help": facts["help"] + shown}
        if facts["kind"] == "bool":
            more["action"] = argparse.BooleanOptionalAction
        else:
            more |= {"type": kinds.get(facts["kind"], str), "metavar": facts.get("metavar")}
            more |= {"choices": facts["choices"]} if "choices" in facts else {}
        if facts["kind"] in ("floats", "strings"):
            more["nargs"] = len(facts["metavar"]) if isinstance(facts["metavar"], tuple) else "+"
        parser.add_argument(f"--{option_name(setting.name)}", **more)
    parser.set_defaults(command=_run)


def _add_demo(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        "demo", parents=[common], help="the shipped model on a peptide in water", description=_demo.__doc__
    )
    parser.add_argument("--output", metavar="DIR", help="folder to write to (default: demo-output)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of 1 fs")
    parser.set_defaults(command=_demo)


def _add_bench(commands: Any, common: argparse.ArgumentParser) -> None:
    from .bench.command import add_arguments

    parser = commands.add_parser("bench", parents=[common], help="how fast a model runs", description=_bench.__doc__)
    add_arguments(parser)
    parser.set_defaults(command=_bench)


def _info(arguments: argparse.Namespace) -> Answer:
    """Tell what a model file is. Nothing is compiled and no System is built."""
    from .simulate.describe import describe_model

    facts = describe_model(arguments.model, arguments.device, arguments.trusted)
    length, energy = facts["units_assumed"].values()
    lines = [
        ("file", facts["path"]),
        ("kind", facts["kind"]),
        ("compile target", facts["compile_target"] or "none: compiled at first use"),
        ("CPU kernels", facts["kernels"]),
        ("CUDA graphs", facts["cuda_graphs"]),
        ("types", " ".join(facts["type_names"])),
        ("cutoff", f"{facts['cutoff']:g} {length}"),
        ("dtype", facts["dtype"] + " (TF32 allowed)" * facts["allow_tf32"]),
        ("units assumed", f"{length}, {energy} (NequIP files state none)"),
        ("device", facts["device"]),
        ("outputs", ", ".join(facts["outputs"])),
        ("size", f"{facts['size_bytes']} bytes"),
        ("SHA-256", facts["sha256"]),
        ("versions in file", _pairs(facts["versions_in_file"])),
        ("installed", _pairs(facts["versions_installed"])),
    ]
    if facts["per_edge_type_cutoff"]:
        rows = [f"{center}: {_pairs(row)}" for center, row in facts["per_edge_type_cutoff"].items()]
        lines.insert(6, ("  by pair", "; ".join(rows)))
    return Answer(facts, "\n".join(f"{name:17} {value}" for name, value in lines))


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None) or "none stated"


def _energy(arguments: argparse.Namespace) -> Answer:
    """Evaluate a model on one structure, in any cell. Checkpoints and packages are evaluated eagerly unless --compile
    or --kernels fused is given. The stress is dE/d(strain)/V in the frame of the file, positive under tension; the
    pressure is minus a third of its trace, without the kinetic part that moving atoms add."""
    from .models import load_model
    from .potential import log_units
    from .simulate import single_point
    from .simulate.structures import read_structure
    from .units import resolve_units

    length, energy = arguments.length_unit, arguments.energy_unit
    if arguments.units is not None:
        if length is not None or energy is not None:
            raise UsageError("give --units or --length-unit and --energy-unit, not both")
        length, energy = arguments.units
    units = resolve_units(length, energy)
    if arguments.forces is not None:
        single_point.check_forces_path(arguments.forces)
    structure = read_structure(arguments.structure, arguments.box, arguments.frame)
    kernels = arguments.kernels
    model = load_model(arguments.model, arguments.device, arguments.compile, arguments.trusted, kernels)
    log_units(model.info.path, units)
    result = single_point.evaluate(model, structure, units, single_point.read_types(arguments.types))
    document = result.as_json()
    text = [
        f"{'energy':14} {document['energy_kj_per_mol']:.6f} kJ/mol = {document['energy_ev']:.8f} eV",
        f"{'largest force':14} {document['max_force_kj_per_mol_nm']:.4f} kJ/mol/nm",
    ]
    if result.stress is not None:
        text.append(f"{'pressure':14} {document['pressure_bar']:.3f} bar (potential part: atoms at rest)")
        rows = ["  ".join(f"{value:14.3f}" for value in row) for row in result.stress]
        text.append(f"{'stress (bar)':14} " + ("\n" + " " * 15).join(rows))
        text.append(f"{'':14} dE/d(strain)/V in the frame of the file, positive under tension")
    if arguments.forces is not None:
        written = single_point.write_forces(arguments.forces, structure, result)
        text.append(f"{'forces':14} {arguments.forces} ({written})")
    return Answer(document, "\n".join(text))


def _run(arguments: argparse.Namespace) -> Answer:
    """Minimise, equilibrate and run dynamics. Everything is written to --output; Ctrl-C saves and ends."""
    from .simulate.config import RunConfig, make_config, read_toml
    from .simulate.run import restart_run, start_run

    stated = {setting.name: value for setting in fields(RunConfig) if (value := getattr(arguments, setting.name, None))
              is not None}  # fmt: skip
    layers = [] if arguments.config is None else [read_toml(arguments.config)]
    given = {key.replace("-", "_"): value for layer in [*layers, stated] for key, value in layer.items()}
    required = ("output",) if arguments.restart else ("model", "structure", "output")
    missing = [name for name in required if name not in given]
    if missing:
        options = ", ".join(f"--{name}" for name in missing)
        raise UsageError(f"run needs {options} (or {', '.join(missing)} in the --config file)")
    outcome = restart_run(given["output"], given) if arguments.restart else start_run(make_config(given))
    return _run_answer(outcome.summary, outcome.signal, str(given["output"]))


def _run_answer(summary: dict[str, Any], ended_by: int | None, output: str) -> Answer:
    lines = [f"{summary['steps']} steps are in {output}"]
    if summary.get("ns_per_day"):
        lines[0] = f"{summary['steps']} steps, {summary['time_ps']:g} ps ({summary['ns_per_day']:.3g} ns/day)"
        lines.append(f"results: {output} (trajectory, log.csv, final.pdb, summary.json)")
    for name, value in summary.get("averages", {}).items():
        lines.append(f"{name}: {value['mean']:.2f} ± {value['std']:.2f}")
    if summary.get("drift_kj_per_mol_per_atom_per_ns") is not None:
        lines.append(f"total-energy drift: {summary['drift_kj_per_mol_per_atom_per_ns']:.3g} kJ/mol per atom and ns")
    if summary.get("pictures"):
        lines.append("pictures: " + ", ".join(f"{output}/{name}" for name in summary["pictures"]))
    if ended_by is not None:
        lines.append(f"stopped early: `{PROGRAM} run --restart --output {output}` continues")
    return Answer(summary, "\n".join(lines), OK if ended_by is None else 128 + ended_by)


def _demo(arguments: argparse.Namespace) -> Answer:
    """Simulate alanine dipeptide in water, the peptide by the shipped model, and once more by the force field alone.
    Less than a minute on two cores."""
    from .simulate import demo

    output = demo.free_folder(arguments.output)
    outcome = demo.run_demo(output, demo.DEFAULT_STEPS if arguments.steps is None else arguments.steps)
    answer = _run_answer(outcome.summary, outcome.signal, output)
    if outcome.signal is not None:
        return answer
    summary = outcome.summary
    text = (
        f"{answer.text}\n"
        f"energy of the peptide in the last frame: {summary['openmm_energy_kj_per_mol']:.4f} kJ/mol through OpenMM, "
        f"{summary['direct_energy_kj_per_mol']:.4f} straight from the model\n"
        f"Look at {output}/ramachandran.png (φ/ψ by the model and by the force field), {output}/energy.png and "
        f"{output}/rdf.png; {output}/trajectory.dcd with {output}/start.pdb opens in any viewer."
    )
    return Answer(summary, text)


def _bench(arguments: argparse.Namespace) -> Answer:
    """Time MD steps of growing systems, split into OpenMM, neighbour list, model and the rest, beside OpenMM-ML's own
    nequip, NequIPCalculator and the bare model, all in turn in one process. Energies and forces are compared first."""
    from .bench import run_bench
    from .bench.command import settings_of
    from .simulate.interrupt import StopRequest

    try:
        settings = settings_of(arguments)
    except ValueError as error:
        raise UsageError(str(error)) from error
    with StopRequest() as stop:
        outcome = run_bench(settings, lambda: bool(stop))
    text = f"{outcome.text}\n\n{outcome.folder}/bench.json, {outcome.folder}/bench.png"
    if outcome.disagreements:
        text += f"\nWRONG RESULTS, not timed: {', '.join(outcome.disagreements)}"
    code = 128 + stop.signal if stop.signal is not None else FAILED if outcome.disagreements else OK
    return Answer(outcome.document, text, code)


if __name__ == "__main__":
    sys.exit(main())
