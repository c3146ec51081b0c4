"""Files that ship with the package, the demo model, its structure and its model card, and what they must be.

Whoever uses one of them by its place in the package gets these bytes or an error: a file that was damaged or replaced
since the installation is neither the model of the card nor the start of the demonstration.
"""

from __future__ import annotations

import hashlib
import os

#: SHA-256 of the files that numbers come from.
SHIPPED = {
    "alanine-dipeptide.nequip.zip": "234142349c27c2546146d0cf725d0f930944069a9dfdfb375d98783643a9e43f",
    "alanine-dipeptide.pdb": "53616288ad32ea57b5859725e58428226067c1002f7301da7aaae65652a6820a",
}
_FOLDER = os.path.dirname(os.path.realpath(__file__))


def shipped_damage(path: str, content: bytes | None = None) -> str:
    """Why a file of the package is not to be used; others are none of our business.

    Parameters
    ----------
    path : str
        Any file; it exists.
    content : bytes, optional
        What is in it; read where it is needed and not given.

    Returns
    -------
    str
        Words that follow the file's name in a sentence; empty unless it has the name and place of one of
        :data:`SHIPPED`, and another content.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    folder, name = os.path.split(os.path.realpath(path))
    if folder != _FOLDER or name not in SHIPPED:
        return ""
    if content is None:
        with open(path, "rb") as file:
            content = file.read()
    found = hashlib.sha256(content).hexdigest()
    if found == SHIPPED[name]:
        return ""
    return (
        f"is damaged or was replaced: it is not the file that comes with openmm-nequip (its SHA-256 is {found}, "
        f"expected {SHIPPED[name]}); install the package again, and keep files of your own elsewhere"
    )
