"""A CSV file of which every row is on disk as soon as it is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, Any


class CsvTable:
    """A CSV file.

    Parameters
    ----------
    path : str or path-like
        The file.
    columns : iterable of str
        Its first row.
    append : bool
        Whether to go on at its end, without that row.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Iterable[str], append: bool) -> None:
        self._file: IO[str] = open(path, "a" if append else "w", encoding="utf-8")
        if not append:
            self.write(columns)

    def write(self, row: Iterable[Any]) -> None:
        """Write a row."""
        self._file.write(",".join(map(str, row)) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
