"""Energies that others have published for a model file and a structure.

References
----------
CP2K, regression tests ``tests/Fist/regtest-nequip`` and ``regtest-allegro``: total energies in hartree of CODATA 2006,
pressures in bar.
"""

from __future__ import annotations

from typing import NamedTuple

from ...units import EV_PER_HARTREE_2006, KJ_PER_MOL_PER_EV, NM_PER_ANGSTROM
from ..structures.structure_files import Structure
from .answers import ProgramAnswer


class _Known(NamedTuple):
    test: str
    atoms: int
    energy_hartree: float
    #: Side of the cubic box, Å; None for an open structure or one that is not told apart by it.
    side: float | None


#: By SHA-256 of the model file.
_KNOWN = {
    "5cfd72c254b4c8f7976829757f0d73c930eeeaafe7f684db3b6e2d57e3ff09b0": _Known(
        "regtest-nequip/water-bulk.inp", 96, -550.635061584740356, 9.8528
    ),
    "890b705f56554d0e1565d67141b7e2827a405f5c246216ab4b6ecabdb2b91ed8": _Known(
        "regtest-nequip/NequIP_water_double.inp", 96, -550.638647597308932, 9.8528
    ),
}


def published(sha256: str, structure: Structure) -> ProgramAnswer | None:
    """What is published for this file and a structure of this size.

    Parameters
    ----------
    sha256 : str
        Of the model file.
    structure : Structure
        The atoms. That they are at the published places is not known here: the answer tells.

    Returns
    -------
    ProgramAnswer or None
    """
    known = _KNOWN.get(sha256)
    if known is None or len(structure.positions_nm) != known.atoms or structure.box_nm is None:
        return None
    if known.side is not None and abs(abs(structure.box_nm[0, 0]) / NM_PER_ANGSTROM - known.side) > 1e-3:
        return None
    return ProgramAnswer(
        f"CP2K, published ({known.test})", known.energy_hartree * EV_PER_HARTREE_2006 * KJ_PER_MOL_PER_EV
    )
