"""Ensembles of TorchMD-Net models: the mean drives, the spread is told."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import torch

from ...cache import keep, key_of, shelf
from ...errors import ModelFileError
from ...graph.graph import EXACT_EDGES, NO_EDGES, EdgeNeeds, Graph, Outputs
from ..base import Model, ModelInfo
from ..common_facts import merged_info
from ..source import read_file

#: Names of members in an archive end so.
MEMBER = ".ckpt"
#: The date of entries of the archives that are written here: the same members give the same file.
_DATE = (1980, 1, 1, 0, 0, 0)


class EnsembleModel(Model):
    """Several models of the same types; energy and forces are the means.

    Parameters
    ----------
    info : ModelInfo
        Facts about all of them.
    device : torch.device
        Where they are.
    members : sequence of Model
        At least one.
    """

    gives_virial = True
    unrecordable = "TorchMD-Net's models choose their pairs anew at each step"

    def __init__(self, info: ModelInfo, device: torch.device, members: Sequence[Model]) -> None:
        super().__init__(info, device)
        self.needs = EdgeNeeds(NO_EDGES if info.cutoff is None else EXACT_EDGES)
        self.members = tuple(members)

    def evaluate(self, graph: Graph) -> Outputs:
        """As :meth:`openmm_nequip.models.base.Model.evaluate`; each member deals with small graphs itself."""
        return self._evaluate(graph)

    def _evaluate(self, graph: Graph) -> Outputs:
        found = [member.evaluate(graph) for member in self.members]
        energies = torch.stack([out.energy for out in found])
        forces = torch.stack([out.forces for out in found])
        virials = torch.stack([out.virial for out in found])  # type: ignore[misc]  # these models give one
        mean = Outputs(energies.mean(0), forces.mean(0), virial=virials.mean(0))
        if len(found) > 1:
            mean.energy_spread = energies.std(0)
            # Of each component, as TorchMD-Net gives them; of an atom, the length of the three.
            mean.spread = torch.linalg.vector_norm(forces.std(0), dim=1)
        return mean


def common_info(infos: Sequence[ModelInfo], path: str) -> ModelInfo:
    """Facts about an ensemble from those of its members.

    Parameters
    ----------
    infos : sequence of ModelInfo
        One for each.
    path : str
        The file, for messages.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelFileError
        If the members cannot be averaged.
    """
    first = infos[0]
    for number, info in enumerate(infos[1:], 1):
        for what in ("type_names", "units", "inputs"):
            if getattr(info, what) != getattr(first, what):
                raise ModelFileError(
                    f"{path} is no ensemble: its members 0 and {number} differ in {what} ({getattr(first, what)} and "
                    f"{getattr(info, what)}); give models of one training set-up",
                    path,
                )
    titles = list(dict.fromkeys(info.target for info in infos))
    return merged_info(infos, f"ensemble of {len(infos)}: {'; '.join(map(str, titles))}")


def members_of(content: bytes) -> dict[str, bytes]:
    """Checkpoints in an archive, by name and in the order of the names.

    Parameters
    ----------
    content : bytes
        The archive, whose checksums were compared.

    Returns
    -------
    dict of str to bytes
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist()) if name.endswith(MEMBER)}


def bundle(paths: Sequence[str]) -> str:
    """One file from several checkpoints: an archive in the cache, as TorchMD-Net's ensembles are.

    Parameters
    ----------
    paths : sequence of str
        The members.

    Returns
    -------
    str
        Path of the archive; the same members give the same file.

    Raises
    ------
    ModelFileError
        If a member cannot be read, or there is none.
    """
    if not paths:
        raise ModelFileError("an ensemble needs at least one checkpoint; an empty list was given")
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for number, path in enumerate(paths):
            _, content = read_file(path)
            archive.writestr(zipfile.ZipInfo(f"{number:03d}{MEMBER}", _DATE), content)
    content = memory.getvalue()
    return str(keep(shelf("ensembles"), key_of({"ensemble": len(paths)}), ".zip", content))
