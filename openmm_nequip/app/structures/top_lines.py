"""The lines of a GROMACS topology after its preprocessor: includes followed, conditions decided, macros replaced."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import EngineInputError
from ...files import TEXT_ENCODING, text_obstacle

_WORD = re.compile(r"[A-Za-z_]\w*")
#: Macros in macros, at most so deep.
_MOST_ROUNDS = 20


class TopLine(NamedTuple):
    """A line that means something, and where it stands."""

    text: str  #: without comment, macros replaced
    path: str  #: the file
    number: int  #: its line, from 1

    def error(self, message: str) -> EngineInputError:
        """An error about this line, to be raised."""
        return EngineInputError(message, self.path, self.number)


class TopPreprocessor:
    """GROMACS' preprocessor: ``#include``, ``#define``, ``#undef``, ``#ifdef``, ``#ifndef``, ``#else``, ``#endif``.

    Parameters
    ----------
    defines : mapping of str to str
        Macros that are there from the start.
    include : sequence of str
        Folders to search after that of the file itself and before GROMACS' own.
    """

    def __init__(self, defines: Mapping[str, str], include: Sequence[str]) -> None:
        self._defines = dict(defines)
        self._folders = [*include, *library_folders()]
        self.used: set[str] = set()
        self._stack: list[str] = []

    def lines(self, path: str) -> Iterator[TopLine]:
        """Lines of a file and of all that it includes.

        Parameters
        ----------
        path : str
            The file.

        Raises
        ------
        EngineInputError
            For a file that is missing or includes itself, an unknown directive, or conditions that do not close.
        """
        reason = text_obstacle(path)
        if reason:
            raise EngineInputError(f"the topology file {reason}", path)
        self._stack.append(os.path.realpath(path))
        conditions: list[tuple[TopLine, bool, bool]] = []  # where it began, whether it holds, whether #else was seen
        for line in _joined(path):
            if line.text.startswith("#"):
                yield from self._directive(line, conditions)
            elif all(holds for _, holds, _ in conditions) and not line.text.startswith("*"):
                yield line._replace(text=self._replaced(line.text))
        if conditions:
            raise conditions[-1][0].error(f"{conditions[-1][0].text!r} is never closed; put an #endif")
        self._stack.pop()

    def _directive(self, line: TopLine, conditions: list[tuple[TopLine, bool, bool]]) -> Iterator[TopLine]:
        word, _, rest = line.text[1:].strip().partition(" ")
        name, _, value = rest.strip().partition(" ")
        active = all(holds for _, holds, _ in conditions)
        if word in ("ifdef", "ifndef", "define", "undef") and not name:
            raise line.error(f"#{word} without a name; give one")
        if word in ("ifdef", "ifndef"):
            self.used.add(name)
            conditions.append((line, (name in self._defines) == (word == "ifdef"), False))
        elif word in ("else", "endif"):
            if not conditions:
                raise line.error(f"#{word} without an #ifdef before it in this file")
            began, holds, seen = conditions.pop()
            if word == "else":
                if seen:
                    raise line.error(f"a second #else for {began.text!r} of line {began.number}")
                conditions.append((began, not holds, True))
        elif not active:
            return
        elif word == "define":
            self._defines[name] = value.strip()
        elif word == "undef":
            self._defines.pop(name, None)
        elif word == "include":
            yield from self._included(line, rest.strip().strip("\"<>"))
        else:
            raise line.error(
                f"the directive #{word} is unknown; GROMACS' preprocessor knows #include, #define, #undef, #ifdef, "
                "#ifndef, #else and #endif" + f". Its message: {rest}" * (word == "error")
            )

    def _included(self, line: TopLine, name: str) -> Iterator[TopLine]:
        folders = [os.path.dirname(line.path), *self._folders]
        found = next((p for p in (os.path.join(folder, name) for folder in folders) if os.path.isfile(p)), None)
        if found is None:
            raise line.error(
                f"the included file {name!r} is in none of {', '.join(folder or '.' for folder in folders)}. Put it "
                "beside the topology, name its folder (--include DIR, or include = -IDIR in the .mdp), or tell by the "
                "environment variable GMXLIB where GROMACS' force fields (share/gromacs/top) are"
            )
        if os.path.realpath(found) in self._stack:
            circle = [*self._stack[self._stack.index(os.path.realpath(found)) :], os.path.realpath(found)]
            raise line.error(
                f"the #include goes in a circle: {' includes '.join(map(os.path.basename, circle))}; take one out"
            )
        yield from self.lines(found)

    def _replaced(self, text: str) -> str:
        for _ in range(_MOST_ROUNDS):
            new = _WORD.sub(self._value, text)
            if new == text:
                break
            text = new
        return text

    def _value(self, match: re.Match[str]) -> str:
        value = self._defines.get(match.group())
        if not value:
            return match.group()
        self.used.add(match.group())
        return value


def _joined(path: str) -> Iterator[TopLine]:
    """Lines without comments, those that end with a backslash joined to the next; empty ones left out."""
    waiting, first = "", 0
    with open(path, encoding=TEXT_ENCODING, errors="replace") as file:
        for number, text in enumerate(file, 1):
            first = first or number
            text = text.split(";")[0].rstrip()
            if text.endswith("\\"):
                waiting += text[:-1] + " "
                continue
            joined = (waiting + text).strip()
            if joined:
                yield TopLine(joined, path, first)
            waiting, first = "", 0
    if waiting.strip():
        yield TopLine(waiting.strip(), path, first)


def library_folders() -> list[str]:
    """Where GROMACS keeps its force fields: by GMXLIB, GMXDATA and GMXBIN, beside ``gmx``, and the usual places."""
    folders = [folder for folder in os.environ.get("GMXLIB", "").split(os.pathsep) if folder]
    if os.environ.get("GMXDATA"):
        folders += [os.path.join(os.environ["GMXDATA"], *more) for more in (("top",), ("gromacs", "top"))]
    roots = [Path(os.environ["GMXBIN"]).parent] if os.environ.get("GMXBIN") else []
    roots += [Path(found).resolve().parent.parent for name in ("gmx", "gmx_mpi") if (found := shutil.which(name))]
    roots += [Path(sys.prefix), Path("/usr"), Path("/usr/local/gromacs")]
    folders += [str(root / "share" / "gromacs" / "top") for root in roots]
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder)]
