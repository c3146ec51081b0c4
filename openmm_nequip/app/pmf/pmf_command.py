"""The command ``pmf``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...files import folder_obstacle
from ...units import NM_PER_ANGSTROM
from ..answer import Answer

DESCRIPTION = """Free energy along a distance, an angle or a torsion from runs that were held along it by --bias: by
MBAR, from the independent frames after equilibration, with standard errors and the overlap of the windows. Written:
pmf.csv, pmf.png."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Declare the command.

    Parameters
    ----------
    commands : argparse action
        From ``add_subparsers``.
    common : argparse.ArgumentParser
        The options of every command.
    """
    parser = commands.add_parser(
        "pmf", parents=[common], help="free energy along a coordinate", description=DESCRIPTION
    )
    parser.add_argument("folders", nargs="+", metavar="RUN", help="folders of runs with one --bias each")
    parser.add_argument("--bins", type=int, default=36, metavar="N", help="bins of the profile (default: 36)")
    parser.add_argument("--output", default="pmf-output", metavar="DIR", help="folder to write to (pmf-output)")
    parser.set_defaults(command=pmf)


def pmf(arguments: argparse.Namespace) -> Answer:
    """Compute the potential of mean force of some runs.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the command line.

    Returns
    -------
    Answer

    Raises
    ------
    UsageError
        For a number of bins that cannot be, or an output that cannot be made.
    RunFolderError
        If the windows do not belong together.
    OverlapError
        If they do not overlap.
    """
    import numpy as np

    from .pmf_picture import write_picture
    from .windows import check_windows, read_window
    from .windows_profile import profile_of

    if not 2 <= arguments.bins <= 10_000:
        raise UsageError(f"--bins {arguments.bins}: give a number from 2 to 10000")
    if not arguments.output.strip():
        raise UsageError("--output is empty; give a folder")
    reason = folder_obstacle(arguments.output)
    if reason:
        raise UsageError(f"--output {arguments.output} {reason}")
    windows = [read_window(folder) for folder in arguments.folders]
    check_windows(windows)
    profile = profile_of(windows, arguments.bins)
    bias = windows[0].bias
    unit, factor = ("Å", 1 / NM_PER_ANGSTROM) if bias.kind == "distance" else ("degrees", 180.0 / math.pi)
    axis = profile.centres * factor
    output = Path(arguments.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {arguments.output}: {error.strerror or error}") from error
    label = f"{bias.kind} of atoms {', '.join(map(str, bias.atoms))}, {unit}"
    rows = np.column_stack([axis, profile.energies, profile.errors, profile.counts.sum(axis=0)])
    heading = f"{bias.kind} ({unit}),free energy (kJ/mol),standard error (kJ/mol),samples"
    np.savetxt(output / "pmf.csv", rows, delimiter=",", header=heading, comments="", fmt="%.8g")
    title = f"{len(windows)} windows at {windows[0].temperature:g} K"
    write_picture(output / "pmf.png", profile, axis, label, title)
    seen = np.isfinite(profile.energies)
    lowest = int(np.nanargmin(profile.energies))
    document = {
        "coordinate": bias.kind, "atoms": list(bias.atoms), "unit": unit, "temperature_K": windows[0].temperature,
        "centres": axis.tolist(),
        "free_energy_kj_per_mol": [float(v) if ok else None for v, ok in zip(profile.energies, seen, strict=True)],
        "standard_error_kj_per_mol": [float(v) if ok else None for v, ok in zip(profile.errors, seen, strict=True)],
        "overlap": profile.overlap.tolist(), "notes": profile.notes,
        "windows": [{"folder": w.folder, "frames": w.frames, "independent": len(w.values)} for w in windows],
    }  # fmt: skip
    highest = float(np.nanmax(profile.energies))
    beside = np.diag(profile.overlap, 1)
    text = [
        f"{label}: {title}, {sum(w.frames for w in windows)} frames, {sum(len(w.values) for w in windows)} independent",
        f"lowest at {axis[lowest]:.4g} {unit}; highest {highest:.3g} kJ/mol; largest error "
        f"{float(np.nanmax(profile.errors)):.2g} kJ/mol",
        f"neighbouring windows share {beside.min():.1%} to {beside.max():.1%} of their samples",
        *(f"note: {note}" for note in profile.notes),
        f"written: {output / 'pmf.csv'}, {output / 'pmf.png'}",
    ]
    return Answer(document, "\n".join(text))
