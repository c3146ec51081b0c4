"""Links to other projects without a network: inventories for intersphinx, written from ``foreign.txt``."""

from __future__ import annotations

import zlib
from collections import defaultdict
from pathlib import Path

#: Names in the types of docstrings that become links.
ALIASES = {
    name: f":class:`{name}`"
    for name in (
        "openmm.System", "openmm.State", "openmm.Context", "openmm.Force", "openmm.MonteCarloBarostat",
        "openmm.app.Topology", "openmm.app.Simulation", "ase.Atoms", "torch.Tensor", "torch.device", "torch.dtype",
        "numpy.ndarray", "os.PathLike",
    )
} | {"np.ndarray": ":class:`numpy.ndarray`", "path-like": ":class:`path-like <os.PathLike>`"}  # fmt: skip


def inventories(listing: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """Write an inventory for each project.

    Parameters
    ----------
    listing : Path
        Lines of project, role, name and address; the first line of a project has its root alone.
    folder : Path
        Where the inventories go.

    Returns
    -------
    dict
        As ``intersphinx_mapping``: root and inventory of each project.
    """
    roots: dict[str, str] = {}
    entries: dict[str, list[str]] = defaultdict(list)
    for line in listing.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        project, *rest = line.split()
        if len(rest) == 1:
            roots[project] = rest[0]
        else:
            role, name, address = rest
            entries[project].append(f"{name} {role} 1 {address} -\n")
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, root in roots.items():
        header = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
        header += "# The remainder of this file is compressed using zlib.\n"
        path = folder / f"{project}.inv"
        path.write_bytes(header.encode() + zlib.compress("".join(entries[project]).encode()))
        mapping[project] = (root, str(path))
    return mapping
