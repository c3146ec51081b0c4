"""The paths of several models that make one committee: goes wherever a model's path goes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from typing import Any

from ..choices import DRIVES, NEQUIP_NET, PYTHON
from ..errors import CommitteeError
from .format import COMMITTEE
from .source import FIRST, MEAN, ModelSource

logger = logging.getLogger(__name__)

#: A committee has at least so many models: the spread of one is nothing.
FEWEST_MODELS = 2


class CommitteePath(os.PathLike[str]):
    """Several model files, or other paths of models, in order.

    Parameters
    ----------
    paths : sequence of str or path-like
        At least two.
    drive : str or int, optional
        ``"mean"`` (default): the forces are the mean of all; ``0``: those of the first alone.

    Raises
    ------
    CommitteeError
        If there are fewer than two, or ``drive`` is neither.
    """

    def __init__(self, paths: Sequence[Any], drive: Any = None) -> None:
        self.paths = tuple(paths)
        self.drive = parse_drive(drive)
        if len(self.paths) < FEWEST_MODELS:
            raise CommitteeError(
                f"a committee needs at least {FEWEST_MODELS} models, and {[str(path) for path in self.paths]} was "
                'given; name them all, such as committee=["a.nequip.zip", "b.nequip.zip"] (--committee on the command '
                "line), or leave committee out"
            )

    def __fspath__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return " + ".join(os.fspath(path) for path in self.paths)

    def __repr__(self) -> str:
        return f"CommitteePath({[str(path) for path in self.paths]!r}, {self.drive!r})"


def parse_drive(drive: Any) -> str:
    """:data:`~.source.MEAN` or :data:`~.source.FIRST`, from what a user gives as ``drive=``.

    Raises
    ------
    CommitteeError
        If it is none of :data:`openmm_nequip.choices.DRIVES`.
    """
    if isinstance(drive, str) and drive in (MEAN, FIRST):
        return drive
    if drive is None:
        return MEAN
    if not isinstance(drive, bool) and str(drive) == "0":
        return FIRST
    raise CommitteeError(
        f"drive={drive!r} is unknown; give one of {', '.join(map(repr, DRIVES))}: the mean of the models, or the first"
    )


def with_committee(path: Any, committee: Any, drive: Any = None) -> Any:
    """A model's path, or those of all models of a committee.

    Parameters
    ----------
    path : str, path-like or list of these, optional
        The first model or models; None where the committee names them.
    committee : sequence of str or path-like, optional
        All models, or all but the first.
    drive : str or int, optional
        As :class:`CommitteePath`.

    Returns
    -------
    path-like
        ``path`` itself without a committee.

    Raises
    ------
    CommitteeError
        For a committee of fewer than two models, or ``drive`` without one.
    TypeError
        If ``committee`` is no list.
    """
    several = path.paths if isinstance(path, CommitteePath) else path if isinstance(path, (list, tuple)) else None
    if committee is None and drive is not None:
        if several is None:
            raise CommitteeError(f"drive={drive!r} says which model of a committee drives; give committee= as well")
        return CommitteePath(several, drive)
    if committee is None:
        return path
    if isinstance(committee, (str, bytes, os.PathLike)) or not isinstance(committee, Sequence):
        raise TypeError(f"committee={committee!r} is no list; give the model files in a list")
    members = list(committee)
    if not members:
        raise CommitteeError(
            'the committee is empty; name its models, such as committee=["a.nequip.zip", "b.nequip.zip"], or leave '
            "committee out"
        )
    if several is not None:
        members = [*several, *members]
    elif path is not None:
        # Named again among all of them, it is that one and comes first.
        others = list(members)
        again = next((other for other in others if _place(other) == _place(path)), None)
        if again is not None:
            others.remove(again)
        members = [path, *others]
    return CommitteePath(members, drive)


def _place(path: Any) -> str:
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else repr(path)
    return text if text.startswith((NEQUIP_NET, PYTHON)) else os.path.realpath(os.path.expanduser(text))


def check_biased(source: ModelSource) -> None:
    """Refuse a bias where it cannot act.

    Parameters
    ----------
    source : ModelSource
        What is to be biased.

    Raises
    ------
    CommitteeError
        If it is no committee, or its first model drives alone.
    """
    if source.kind != COMMITTEE:
        raise CommitteeError(
            f"committeeBias (--committee-bias) was given, and {source.path} is no committee whose models answer one by "
            "one; give further models with committee=, also in place of an archive of TorchMD-Net checkpoints, or "
            "leave committeeBias out",
            source.path,
        )
    if source.drive == FIRST:
        raise CommitteeError(
            "committeeBias (--committee-bias) and drive=0 exclude each other: the bias needs the energies of all "
            "models at every step; drive by the mean, or leave one of them out",
            source.path,
        )


def committee_source(members: Sequence[ModelSource], drive: str) -> ModelSource:
    """Where a committee comes from.

    Parameters
    ----------
    members : sequence of ModelSource
        Its models; the same one twice is allowed, and warned about.
    drive : str
        :data:`~.source.MEAN` or :data:`~.source.FIRST`.

    Returns
    -------
    ModelSource
        Its SHA-256 is of those of the members.
    """
    for key in dict.fromkeys(member.key for member in members):
        same = [member.path for member in members if member.key == key]
        if len(same) > 1:
            logger.warning(
                "%s are one model (SHA-256 %s): it counts %d times in the committee, whose spread is smaller for it",
                " and ".join(same), key[1], len(same),
            )  # fmt: skip
    text = repr([drive, *(member.key for member in members)])
    return ModelSource(
        path=" + ".join(member.path for member in members),
        kind=COMMITTEE,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        size_bytes=sum(member.size_bytes for member in members),
        members=tuple(members),
        drive=drive,
    )
