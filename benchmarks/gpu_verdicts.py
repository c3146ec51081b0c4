"""The goals for the first minutes on a GPU, and whether what ``gpu_slot.py`` has found meets them; its table."""

from __future__ import annotations

from typing import Any

#: What ``device`` begins with where there was none.
EMULATED = "emulator"
#: Atoms that are asked for in OpenMM. Up to SMALL of them, steps a second are counted.
SIZES, SMALL = (22, 96, 192, 768, 3072), 200
#: The model of the goal at 100,000 atoms, by its name in gpu_models.py and by its file.
SIMPLE, SIMPLE_FILE = "l1 f32 L4", "water-l1-u32.nequip.zip"
_MANY, _BEYOND = 90_000, 100_000
STEPS, COST, OPENMM_ML, PACKAGE = 5000, 0.25, 10, 5


def parts_of(document: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """What was found by the parts of a kind (the first word of their names), without those that failed."""
    return [
        found for name, found in document["parts"].items() if name.split(",")[0] == kind and "error" not in found
    ]  # fmt: skip


def kernel_rows(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each number of atoms and of warps an atom."""
    return [row for part in parts_of(document, "kernels") for row in part["rows"]]


def verdicts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The goals, what was found, and whether they are met; None where something that decides was not measured.

    Parameters
    ----------
    document : dict
        With ``parts``, ``device`` and ``model``.

    Returns
    -------
    list of dict
        ``goal``, ``found`` and ``met``.
    """
    rows = kernel_rows(document)
    wrong = [row for row in rows if not row["right"]]
    found = f"{len(rows)} cases, {len(wrong)} wrong" if rows else "not measured"
    made = [_verdict("forces of the kernels right at every size", found, not wrong if rows else None)]
    steps, peers, packages, reasons = _in_openmm(document)
    speeds = {size: 1e3 / time for size, time in steps.items() if size <= SMALL}
    made.append(
        _verdict(
            f"≥ {STEPS:,} steps a second at 22 to {SMALL} atoms in OpenMM",
            _listed(speeds, "{:.0f}"),
            _all_reach(speeds, STEPS, [size for size in SIZES if size <= SMALL]),
        )
    )
    made.append(_cost(document, rows))
    made.append(
        _verdict(
            f"≥ {OPENMM_ML} × openmm-ml at 22 atoms",
            _listed({22: peers[22]} if 22 in peers else {}, "{:.1f} ×", reasons),
            _all_reach(peers, OPENMM_ML, [22]),
        )
    )
    made.append(
        _verdict(
            f"≥ {PACKAGE} × nequip's AOTInductor package at every size",
            _listed(packages, "{:.1f} ×", reasons),
            _all_reach(packages, PACKAGE, SIZES),
        )
    )
    made.append(_foundation(document))
    return made


def _cost(document: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Cost of an atom and step at 100,000 atoms: in OpenMM if the model is the goal's, else of the kernels alone."""
    goal = f"≤ {COST} µs an atom and step at 100k atoms (l_max 1, 32 features; an H100)"
    inside = [part for part in parts_of(document, "large") if part["atoms"] > _MANY]
    alone = [row["us_per_atom"] for row in rows if row["atoms"] > _MANY and "us_per_atom" in row]
    if inside and document["model"] == SIMPLE_FILE and not _emulated(document):
        cost, where = inside[0]["us_per_atom"], "in OpenMM"
    elif alone:
        cost, where = min(alone), "kernels alone"
    else:
        return _verdict(goal, "not measured", None)
    return _verdict(goal, f"{cost:.3f} µs, {where}, {document['device']}", cost <= COST)


def _foundation(document: dict[str, Any]) -> dict[str, Any]:
    goal = "a foundation-size model (l_max 3, 128 features, 4 layers) beyond 100k atoms"
    for part in parts_of(document, "foundation"):
        memory = f", {part['memory_gib']:.0f} GiB" if "memory_gib" in part else ""
        cost = f", {part['us_per_atom']:.1f} µs an atom" if "us_per_atom" in part else ""
        said = f"{part['atoms']:,} atoms, forces {part['force_error']:.0e} eV/Å off{cost}{memory}"
        return _verdict(goal, said, part["right"] if part["atoms"] > _BEYOND else None)
    return _verdict(goal, "not measured", None)


def _verdict(goal: str, found: str, met: bool | None) -> dict[str, Any]:
    return {"goal": goal, "found": found, "met": met}


def _emulated(document: dict[str, Any]) -> bool:
    return document["device"].startswith(EMULATED)


def _listed(values: dict[int, float], text: str, reasons: list[str] | None = None) -> str:
    """Values by number of atoms; without any, why."""
    if values:
        return ", ".join(f"{size}: {text.format(value)}" for size, value in sorted(values.items()))
    return "not measured" + (f" ({'; '.join(reasons)})" if reasons else "")


def _all_reach(values: dict[int, float], goal: float, sizes: Any) -> bool | None:
    """Whether all sizes reach a goal: one that does not is enough to know, else all of them are needed."""
    if any(value < goal for value in values.values()):
        return False
    return True if all(size in values for size in sizes) else None


def _in_openmm(document: dict[str, Any]) -> tuple[dict[int, float], dict[int, float], dict[int, float], list[str]]:
    """By atoms asked for: ms a step of the native force, how often faster than openmm-ml and than the package it is.

    The last is why something was left out.
    """
    steps: dict[int, float] = {}
    peers: dict[int, float] = {}
    packages: dict[int, float] = {}
    reasons: list[str] = []
    for part in [] if _emulated(document) else parts_of(document, "openmm"):
        bench = part["bench"]
        reasons += [f"{each['name']}: {each['reason']}" for each in bench["left_out"]]
        for system in bench["systems"]:
            size, rows = system["wanted_atoms"], system["rows"]
            own = next((row["step"]["median_ms"] for row in rows if row.get("backend") == "Native"), None)
            if own is None:
                continue
            steps[size] = own
            for row in rows:
                if row["role"] == "peer" and row["contender"].startswith("openmm-ml"):
                    peers[size] = row["step"]["median_ms"] / own
                if row["role"] == "limit" and row["kernels"] == "none":
                    packages[size] = row["step"]["median_ms"] / own
    return steps, peers, packages, list(dict.fromkeys(reasons))


def table(document: dict[str, Any]) -> str:
    """All of it in short."""
    word = {True: "met", False: "MISSED", None: "open"}
    lines = [
        f"# First minutes on {document['device']}",
        "",
        f"torch {document['torch']}, model {document['model']}",
        "",
    ]
    lines += ["| goal | found | verdict |", "|---|---|---|"]
    lines += [f"| {each['goal']} | {each['found']} | {word[each['met']]} |" for each in document["verdicts"]]
    lines += ["", "| part | seconds | date | |", "|---|---|---|---|"]
    for name, part in document["parts"].items():
        said = part.get("error") or part.get("left_out") or part.get("last") or ""
        lines.append(f"| {name} | {part['seconds']} | {part['date'][:19]} | {said} |")
    if rows := kernel_rows(document):
        lines += ["", "| atoms | warps an atom | force error, eV/Å | µs a step | µs an atom |", "|---|---|---|---|---|"]
        for row in rows:
            times = [text.format(row[name]) if name in row else "" for name, text in _TIMES]
            shown = [row["atoms"], row["warps"], f"{row['force_error']:.1e}", *times]
            lines.append(f"| {' | '.join(map(str, shown))} |")
    return "\n".join(lines) + "\n"


_TIMES = (("us_per_step", "{:.1f}"), ("us_per_atom", "{:.4f}"))
