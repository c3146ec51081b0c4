"""The figures as a document and as text."""

from __future__ import annotations

from typing import Any

from ...units import NS_PER_PS, SECONDS_PER_DAY
from .calm import describe_load, is_possible
from .contenders import LIMIT, OURS, Contender
from .figures import MS_PER_S, Figure
from .runners import STEP_PS

_US_PER_MS = 1e3
#: Columns of the table: heading, and key in a row's ``split`` or the row itself.
_PARTS = ("mm_ms", "list_ms", "model_ms", "glue_ms")


def make_row(
    contender: Contender,
    figures: dict[str, Figure],
    atoms: int,
    names: dict[str, str | None],
    fastest: Figure | None,
) -> dict[str, Any]:
    """One contender on one size.

    Ratios are medians of the ratios of samples of the same round.

    Parameters
    ----------
    contender : Contender
        Who.
    figures : dict of str to Figure
        All figures of this size.
    atoms : int
        Size.
    names : dict of str to (str or None)
        Names of the figures that are parts of its step: ``mm``, ``list`` and ``model``; None for what was not measured.
    fastest : Figure, optional
        Step of the fastest way of this package.

    Returns
    -------
    dict
        JSON-ready. ``split`` is there where all its parts are: its four terms add up to the median of the step, since
        glue is what the others leave. ``split_possible`` is False where they leave much less than nothing.
    """
    step = figures[contender.name]
    row: dict[str, Any] = {
        "contender": contender.name,
        "role": contender.role,
        "description": contender.description,
        "kernels": contender.variant,
        "platform": contender.platform,
        "backend": contender.backend,
        "device": contender.device,
        "step": step.as_json(),
        "us_per_atom": step.median_ms * _US_PER_MS / atoms,
    }
    limit = figures.get(names.get("model") or "")
    if contender.role != LIMIT:
        row["ns_per_day"] = STEP_PS * NS_PER_PS * SECONDS_PER_DAY / (step.median_ms / MS_PER_S)
        row["ratio_to_limit"] = None if limit is None else step.ratio_to(limit)
        row["ratio_to_fastest"] = None if fastest is None else step.ratio_to(fastest)
    if contender.role == OURS:
        parts = {key: figures.get(names.get(key) or "") for key in ("mm", "list", "model")}
        known = {f"{key}_ms": figure.median_ms for key, figure in parts.items() if figure is not None}
        if len(known) == len(parts):
            row["split"] = known | {"glue_ms": step.median_ms - sum(known.values())}
            row["split_possible"] = is_possible(step, [figure for figure in parts.values() if figure is not None])
    return row


def table(document: dict[str, Any]) -> str:
    """Everything as text for a terminal.

    Parameters
    ----------
    document : dict
        What :func:`openmm_nequip.app.bench.bench_run.run_bench` measured.
    """
    machine, model = document["environment"], document["model"]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in ("torch", "openmm", "nequip", "openmmml"))
    lines = [
        f"{machine['date']}  {machine['cpu']}, {machine['threads']} of {machine['cores']} threads"
        + "".join(f", {name}" for name in machine["gpus"]),
        versions,
        f"model {model['name']}, {model['dtype']}, cutoff {model['cutoff']:g}, types {' '.join(model['type_names'])}",
        *(f"precision on {facts['device']}: TF32 {facts['tf32']}" for facts in document["precision"]),
        *(_error(row) for facts in document["precision"] for row in facts["errors"]),
        *(f"left out: {item['name']}: {item['reason']}" for item in document["left_out"]),
    ]
    for system in document["systems"]:
        lines += ["", *_system(system)]
    if document["stopped"]:
        lines += ["", f"stopped: {document['stopped']}"]
    return "\n".join(lines)


def _error(row: dict[str, Any]) -> str:
    return (
        f"  TF32 {'on ' if row['tf32'] else 'off'}: {row['energy_kj_per_mol_per_atom']:.2e} kJ/mol per atom, "
        f"{row['force_kj_per_mol_nm']:.2e} kJ/mol/nm of at most {row['largest_force_kj_per_mol_nm']:.2e}, against "
        f"{row['against']}"
    )


def _system(system: dict[str, Any]) -> list[str]:
    lines = [f"{system['atoms']} atoms: {system['title']}", _agreement(system["agreement"])]
    rows = system["rows"]
    if rows:
        width = max(len(row["contender"]) for row in rows)
        heads = ("ms/step", "q1..q3", "n", "MM", "list", "model", "glue", "ns/day", "x bare", "x best", "µs/atom")
        lines.append(
            f"{'':{width}} {heads[0]:>10} {heads[1]:>17} {heads[2]:>4} " + " ".join(f"{head:>8}" for head in heads[3:])
        )
        lines += [_line(row, width) for row in rows]
    lines += describe_load(system["load"])
    restarts = max((row["step"]["restarts"] for row in rows), default=0)
    if restarts:
        lines.append(
            f"the model does not hold this system together (up to {restarts} restarts): figures of speed alone"
        )
    lines += [f"left out: {item['name']}: {item['reason']}" for item in system["left_out"]]
    return lines


def _agreement(agreement: dict[str, Any]) -> str:
    rows = [row for row in agreement["comparisons"] if row["agrees"]]
    if not rows:
        return "energies and forces: nobody to compare with"
    energy = max(row["energy_difference_kj_per_mol_per_atom"] for row in rows)
    force = max(row["force_difference_kj_per_mol_nm"] for row in rows)
    return (
        f"energies and forces agree with {agreement['reference']} for {len(rows)} others: within {energy:.1e} kJ/mol "
        f"per atom and {force:.1e} kJ/mol/nm (largest force {rows[0]['largest_force_kj_per_mol_nm']:.1e})"
    )


def _line(row: dict[str, Any], width: int) -> str:
    step, split = row["step"], row.get("split", {}) if row.get("split_possible") else {}
    spread = f"{step['quartile_1_ms']:.3f}..{step['quartile_3_ms']:.3f}"
    values = [
        *(_number(split.get(key), ".3f") for key in _PARTS),
        _number(row.get("ns_per_day"), ".3g"),
        _number(row.get("ratio_to_limit"), ".2f"),
        _number(row.get("ratio_to_fastest"), ".2f"),
        _number(row["us_per_atom"], ".2f"),
    ]
    return f"{row['contender']:{width}} {step['median_ms']:10.3f} {spread:>17} {step['n']:4d} " + " ".join(
        f"{value:>8}" for value in values
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
