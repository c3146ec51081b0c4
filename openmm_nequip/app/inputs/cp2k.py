"""CP2K's input, read into settings of a run."""

from __future__ import annotations

from ...errors import EngineInputError
from .translation import Translation


def read_cp2k(path: str, forces: str = "stated") -> Translation:
    """Read a CP2K input.

    Parameters
    ----------
    path : str
        The input file.
    forces : str
        ``"energy"`` where UNIT_FORCES is to follow from energy and length, whatever it says.

    Returns
    -------
    Translation

    Raises
    ------
    EngineInputError
        Always: the reader is not part of this commit.
    """
    raise EngineInputError("CP2K inputs are not read yet", path)
