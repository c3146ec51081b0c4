"""A selection as a document and in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...units import NM_PER_ANGSTROM
from .frame_choice import CHOSEN, FATES, POOL, Choice, Rule
from .frame_sources import FrameSource

#: How frames are told apart, for the report.
DESCRIPTOR = (
    "interatomic distances, sorted for each pair of elements: frames that are turned, moved, mirrored, or have like "
    "atoms exchanged are copies"
)


def as_document(choice: Choice, rule: Rule, sources: Sequence[FrameSource], committee: Sequence[str]) -> dict[str, Any]:
    """Everything that was chosen and left out.

    Parameters
    ----------
    choice : Choice
        What was chosen.
    rule : Rule
        What was wanted.
    sources : sequence of FrameSource
        Where frames are from.
    committee : sequence of str
        Models that were evaluated, none where deviations were read.

    Returns
    -------
    dict
        JSON-ready.
    """
    values = [each.deviation for each in choice.candidates if each.deviation is not None]
    rows = []
    for i, distance in zip(choice.chosen, choice.distances, strict=True):
        each = choice.candidates[i]
        rows.append(
            {
                "source": each.source, "frame": each.frame, "region": each.region, "atoms": len(each.symbols),
                "caps": each.caps, "deviation_ev_per_angstrom": each.deviation,
                "distance_angstrom": float(distance) if np.isfinite(distance) else None,
            }
        )  # fmt: skip
    return {
        "frames_read": len(choice.candidates),
        "frames_chosen": len(rows),
        "fates": {fate: choice.fates.count(fate) for fate in FATES if fate in choice.fates},
        "deviation_ev_per_angstrom": {
            "from": list(committee) or ("the sources" if values else None),
            "smallest": min(values, default=None), "median": float(np.median(values)) if values else None,
            "largest": max(values, default=None), "above": rule.above, "below": rule.below,
        },
        "told_apart_by": DESCRIPTOR,
        "reach_angstrom": round(rule.reach_nm / NM_PER_ANGSTROM, 9),
        "alike_angstrom": rule.alike,
        "sources": [
            {"name": source.name, "frames": len(source.candidates), "part": source.part, "notes": source.notes}
            for source in sources
        ],
        "chosen": rows,
    }  # fmt: skip


def in_words(document: dict[str, Any], rule: Rule, known: int) -> list[str]:
    """The document for a person.

    Parameters
    ----------
    document : dict
        From :func:`as_document`.
    rule : Rule
        What was wanted.
    known : int
        Number of frames with labels that new ones were kept away from.

    Returns
    -------
    list of str
        Lines.
    """
    fates = document["fates"]
    left = [f"{count} {fate}" for fate, count in fates.items() if fate != CHOSEN]
    chosen, read = document["frames_chosen"], document["frames_read"]
    lines = [f"{chosen} of {read} frames chosen; left out: {', '.join(left) or 'none'}"]
    for source in document["sources"]:
        lines.append(f"{source['name']}: {source['frames']} frames; {source['part']}")
        lines += [f"  note: {note}" for note in source["notes"]]
    deviation = document["deviation_ev_per_angstrom"]
    if deviation["from"] is None:
        lines.append("no deviation is known: every frame counts alike; --committee MODEL MODEL ... evaluates one")
    else:
        origin = deviation["from"] if isinstance(deviation["from"], str) else f"{len(deviation['from'])} models"
        lines.append(
            f"deviation of forces by {origin}: {deviation['smallest']:.3g} to {deviation['largest']:.3g}, median "
            f"{deviation['median']:.3g} eV/Å; {_limits(rule)}"
        )
    lines.append(f"told apart by {document['told_apart_by']} (within {rule.alike:g} Å)")
    if known:
        lines.append(f"no frame is a copy of one of the {known} that have labels, and all lie far from them")
    distances = [row["distance_angstrom"] for row in document["chosen"] if row["distance_angstrom"] is not None]
    if distances:
        lines.append(
            f"from the nearest chosen before, root mean square of sorted distances: at most {max(distances):.3g}, at "
            f"least {min(distances):.3g} Å"
        )
    return lines


def _limits(rule: Rule) -> str:
    limits = [f"the {POOL * rule.number} largest" if rule.above is None else f"at least {rule.above:g}"]
    if rule.below is not None:
        limits.append(f"below {rule.below:g}")
    return f"considered: {', '.join(limits)}"
