"""Lines of a CP2K input after its preprocessor: comments gone, variables expanded, other files included."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import EngineInputError
from ...files import TEXT_ENCODING, text_obstacle
from .translation import Place

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Files inside files inside files at most.
_DEEPEST = 20
_COMMENTS = "#!"


@dataclass(frozen=True)
class Line:
    """One line of input.

    Parameters
    ----------
    text : str
        Without comments and white space around it; never empty.
    place : Place
        Where it begins.
    """

    text: str
    place: Place


@dataclass
class Preprocessor:
    """What CP2K does before it parses: ``@SET``, ``$VAR``, ``${VAR-default}``, ``@IF``, ``@INCLUDE``, comments.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder, where included files are looked for.
    variables : dict of str to str
        Values by name.
    """

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def lines(self, path: str, around: tuple[str, ...] = (), asked: Place | None = None) -> Iterator[Line]:
        """Lines of a file and of those that it includes.

        Parameters
        ----------
        path : str
            The file.
        around : tuple of str
            Files that are being read, from the outermost in.
        asked : Place, optional
            Where the file is named.

        Yields
        ------
        Line

        Raises
        ------
        EngineInputError
            If a file is missing, includes itself, or has a directive or a variable that is none.
        """
        where = (asked.path, asked.line) if asked is not None else (None, None)
        problem = text_obstacle(path)
        if problem:
            raise EngineInputError(f"{path} {problem}", *where)
        real = os.path.realpath(path)
        if real in around or len(around) >= _DEEPEST:
            chain = " -> ".join([*around[around.index(real) if real in around else 0 :], real])
            raise EngineInputError(f"@INCLUDE goes round in a circle: {chain}; take one of them out", *where)
        try:
            texts = Path(path).read_text(encoding=TEXT_ENCODING, errors="replace").splitlines()
        except OSError as error:
            raise EngineInputError(f"{path} cannot be read: {error.strerror or error}", *where) from error
        skipped: Place | None = None
        joined, start = "", 0
        for number, raw in enumerate(texts, 1):
            text = without_comment(raw)
            place = Place(path, number)
            if skipped is not None:
                # As in CP2K the first @ENDIF ends what is left out: conditions do not nest.
                skipped = None if text.upper().startswith("@ENDIF") else skipped
                continue
            if not text:
                continue
            start = start if joined else number
            joined += text
            if joined.endswith("\\"):
                joined = joined[:-1] + " "
                continue
            text, joined = joined, ""
            place = Place(path, start)
            text = self._expanded(text, place)
            if not text.startswith("@"):
                yield Line(text, place)
            elif not self._condition(text, place):
                skipped = place
            else:
                yield from self._directive(text, place, (*around, real))
        if joined:
            raise EngineInputError("the last line goes on (\\), and nothing follows", path, start)
        if skipped is not None:
            raise EngineInputError("this @IF has no @ENDIF", skipped.path, skipped.line)

    def _expanded(self, text: str, place: Place) -> str:
        """A line with the values of its variables."""

        def braced(found: re.Match[str]) -> str:
            name, dash, default = found[1].partition("-")
            return self._value(name, default if dash else None, place)

        for _ in range(len(text) + 1000):
            if "$" not in text:
                return text
            if "${" in text:
                if "}" not in text[text.index("${") :]:
                    raise EngineInputError("a variable ${ is not closed by }", place.path, place.line)
                text = re.sub(r"\$\{([^}]*)\}", braced, text, count=1)
            else:
                text = re.sub(r"\$(\S*)", lambda found: self._value(found[1], None, place), text, count=1)
        raise EngineInputError("variables stand for each other without end", place.path, place.line)

    def _value(self, name: str, default: str | None, place: Place) -> str:
        if not _NAME.fullmatch(name):
            raise EngineInputError(f"${{{name}}} is no name of a variable", place.path, place.line)
        if name in self.variables:
            return self.variables[name]
        if default is None:
            known = f"; set are {', '.join(sorted(self.variables))}" if self.variables else ""
            raise EngineInputError(
                f"variable {name} has no value; give it one with @SET {name} VALUE before this line{known}",
                place.path, place.line,
            )  # fmt: skip
        return default

    def _condition(self, text: str, place: Place) -> bool:
        """Whether what follows is read: False for an @IF that does not hold."""
        words = text.split(maxsplit=1)
        if words[0].upper() != "@IF":
            return True
        condition = words[1] if len(words) > 1 else ""
        equal, unlike = condition.count("=="), condition.count("/=")
        if equal + unlike > 1:
            raise EngineInputError(f"{text}: @IF takes one == or /=", place.path, place.line)
        if equal + unlike == 0:
            return condition.strip().strip("()").strip() not in ("", "0")
        left, right = condition.split("==" if equal else "/=")
        left = left.partition("(")[2] if "(" in left else left
        right = right.partition(")")[0]
        if not right.strip():
            raise EngineInputError(f"{text}: nothing stands right of the sign", place.path, place.line)
        return (left.strip() == right.strip()) is bool(equal)

    def _directive(self, text: str, place: Place, around: tuple[str, ...]) -> Iterator[Line]:
        """What a line that begins with @ does."""
        words = text.split(maxsplit=1)
        name, rest = words[0].upper(), words[1].strip() if len(words) > 1 else ""
        if name == "@SET":
            variable, _, value = rest.partition(" ")
            if not _NAME.fullmatch(variable) or not value.strip():
                raise EngineInputError(f"{text}: give @SET NAME VALUE", place.path, place.line)
            self.variables[variable] = value.strip()
        elif name == "@INCLUDE":
            path = self._included(rest, place)
            yield from self.lines(path, around, place)
        elif name not in ("@IF", "@ENDIF", "@PRINT"):
            raise EngineInputError(
                f"{words[0]} is not done here; known are @SET, @IF, @ENDIF, @INCLUDE and @PRINT", place.path, place.line
            )

    def _included(self, written: str, place: Place) -> str:
        """Path of a file to include: in the run folder, or beside the file that names it."""
        name = written.strip("\"'").strip()
        if not name or written[:1] in "\"'" and written[:1] != written[-1:]:
            raise EngineInputError(f"@INCLUDE {written}: give the name of a file", place.path, place.line)
        places = [self.folder / name, Path(place.path).parent / name]
        for path in places:
            if path.is_file():
                return str(path)
        raise EngineInputError(f"@INCLUDE: there is no file {places[0]}", place.path, place.line)


def without_comment(raw: str) -> str:
    """A line without what follows # or ! outside quotation marks, and without white space around it.

    Parameters
    ----------
    raw : str
        As in the file.

    Returns
    -------
    str
    """
    quote = ""
    for index, character in enumerate(raw):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'" and raw.count(character, index) > 1:
            quote = character
        elif character in _COMMENTS:
            return raw[:index].strip()
    return raw.strip()
