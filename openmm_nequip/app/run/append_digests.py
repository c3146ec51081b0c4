"""Digests of files that grow: what stands in them up to a checkpoint, without reading them again at each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20
#: Bytes of a DCD header that change with every frame: number of frames, last step.
_CHANGING = {".dcd": ((8, 12), (20, 24))}


class AppendDigests:
    """Running SHA-256 of some files that are only appended to.

    Parameters
    ----------
    paths : iterable of pathlib.Path
        The files; those that are not there have no digest.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._known: dict[str, tuple[int, Any]] = {}
        self._others: dict[str, Callable[[], list[Any]]] = {}

    def add(self, name: str, content: Callable[[], list[Any]]) -> None:
        """Note of another file, which does not only grow, what a function says of it.

        Parameters
        ----------
        name : str
            Of the file.
        content : callable
            Gives a list of plain data.
        """
        self._others[name] = content

    def update(self) -> dict[str, list[Any]]:
        """Read on where the last call ended: size and SHA-256 of each file, by name."""
        found: dict[str, list[Any]] = {}
        for path in self._paths:
            try:
                size = os.path.getsize(path)
            except OSError:
                self._known.pop(path.name, None)
                continue
            start, running = self._known.get(path.name, (0, hashlib.sha256()))
            if start > size:  # it was cut back
                start, running = 0, hashlib.sha256()
            self._known[path.name] = size, _read(path, start, size, running)
            found[path.name] = [size, running.hexdigest()]
        return found | {name: content() for name, content in self._others.items()}

    def differing(self, stated: Mapping[str, Any]) -> list[str]:
        """Names of the files whose first bytes are not those of a digest; files that are gone or shorter are not named.

        Parameters
        ----------
        stated : mapping
            What :meth:`update` gave at some time.

        Returns
        -------
        list of str
        """
        wrong = []
        for path in self._paths:
            if path.name not in stated:
                continue
            size, digest = stated[path.name]
            if not path.exists() or os.path.getsize(path) < size:
                continue
            running = _read(path, 0, size, hashlib.sha256())
            if running.hexdigest() == digest:
                self._known[path.name] = size, running
            else:
                wrong.append(path.name)
        return wrong


def _read(path: Path, start: int, end: int, running: Any) -> Any:
    """Add the bytes from start to end to a digest."""
    with open(path, "rb") as file:
        file.seek(start)
        while start < end:
            block = bytearray(file.read(min(_BLOCK, end - start)))
            if not block:
                break
            for first, last in _CHANGING.get(path.suffix, ()):
                for i in range(max(first - start, 0), min(last - start, len(block))):
                    block[i] = 0
            running.update(block)
            start += len(block)
    return running
