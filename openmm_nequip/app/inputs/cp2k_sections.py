"""A CP2K input as a tree of sections, of which each entry is taken once, left out with a reason, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ...errors import EngineInputError
from .cp2k_text import Line
from .translation import Place

_TRUE = ("T", ".T.", "TRUE", ".TRUE.", "ON", "YES", "1")
_FALSE = ("F", ".F.", "FALSE", ".FALSE.", "OFF", "NO", "0", "NONE", ".NO.", ".NONE.")
#: Sections whose lines are data and no keywords.
_DATA = ("COORD", "VELOCITY")


@dataclass
class Keyword:
    """A keyword with what follows it.

    Parameters
    ----------
    name : str
        In capitals; empty for a line of data.
    text : str
        The values as written.
    place : Place
        Where.
    section : Section
        Where it belongs.
    """

    name: str
    text: str
    place: Place
    section: Section = field(repr=False)
    taken: bool = False

    @property
    def path(self) -> str:
        """Names of the sections around it, and its own."""
        return f"{self.section.path}/{self.name}"

    def error(self, message: str) -> EngineInputError:
        """An error at this line."""
        return EngineInputError(f"{self.path} {self.text}: {message}", self.place.path, self.place.line)

    def word(self) -> str:
        """The one value, quotation marks off.

        Raises
        ------
        EngineInputError
            If there is none.
        """
        if not self.text.strip():
            raise self.error("a value is missing")
        return self.text.strip().strip("\"'").strip()

    def choice(self, known: Iterable[str]) -> str:
        """The value in capitals, which must be one of those known.

        Raises
        ------
        EngineInputError
            If it is not.
        """
        value = self.word().upper()
        known = tuple(known)
        if value not in known:
            raise self.error(f"use one of {', '.join(known)}")
        return value

    def split_unit(self) -> tuple[str | None, list[str]]:
        """The unit in square brackets, if there is one, and the values."""
        found = re.match(r"\s*\[([^\]]*)\]\s*(.*)", self.text)
        unit, text = (found[1].strip(), found[2]) if found else (None, self.text)
        return unit, text.split()

    def numbers(self, count: int | None = None) -> list[float]:
        """The values as numbers, a unit in front left out.

        Raises
        ------
        EngineInputError
            If they are not, or not so many.
        """
        try:
            values = [as_number(word) for word in self.split_unit()[1]]
        except ValueError as error:
            raise self.error(str(error)) from None
        if not values or count is not None and len(values) != count:
            raise self.error(f"give {'numbers' if count is None else 'a number' if count == 1 else f'{count} numbers'}")
        return values

    def count(self, least: int = 0) -> int:
        """The one value as a whole number.

        Raises
        ------
        EngineInputError
            If it is none, or less than `least`.
        """
        value = self.numbers(1)[0]
        if value != int(value) or value < least:
            raise self.error(f"give a whole number of {least} or more")
        return int(value)

    def flag(self) -> bool:
        """The value as true or false; true where nothing is written.

        Raises
        ------
        EngineInputError
            If it is neither.
        """
        return as_flag(self.text, self)


@dataclass
class Section:
    """A section with its keywords and sections.

    Parameters
    ----------
    name : str
        In capitals; empty for the whole input.
    parameter : str
        What follows the name.
    place : Place
        Where it begins.
    parent : Section or None
        Where it belongs.
    """

    name: str
    parameter: str
    place: Place
    parent: Section | None = field(default=None, repr=False)
    keywords: list[Keyword] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    taken: bool = False

    @property
    def path(self) -> str:
        """Names of the sections around it, and its own, each with ``&``."""
        own = f"&{self.name}" if self.name else "input"
        return own if self.parent is None or not self.parent.name else f"{self.parent.path}/{own}"

    def error(self, message: str) -> EngineInputError:
        """An error at its first line."""
        return EngineInputError(f"{self.path}: {message}", self.place.path, self.place.line)

    def take(self, *names: str) -> Keyword | None:
        """The keyword of this name or one of its aliases, now dealt with; None if it is not there.

        Raises
        ------
        EngineInputError
            If it is there twice.
        """
        found = [keyword for keyword in self.keywords if keyword.name in names]
        if len(found) > 1:
            first = found[0].place
            raise found[1].error(f"it is given twice, first at {first}; give it once")
        return self._mark(found)

    def take_all(self, *names: str) -> list[Keyword]:
        """Every keyword of these names, now dealt with."""
        found = [keyword for keyword in self.keywords if keyword.name in names]
        self._mark(found)
        return found

    def open(self, name: str) -> Section | None:
        """The section of this name, now dealt with (what is in it is not); None if it is not there.

        Raises
        ------
        EngineInputError
            If it is there twice.
        """
        found = self.open_all(name)
        if len(found) > 1:
            raise found[1].error(f"it is there twice, first at {found[0].place}; give it once")
        return found[0] if found else None

    def open_all(self, *names: str) -> list[Section]:
        """Every section of these names, now dealt with."""
        found = [section for section in self.sections if section.name in names]
        for section in found:
            section.taken = True
        return found

    def require(self, name: str) -> Section:
        """The section of this name.

        Raises
        ------
        EngineInputError
            If it is not there.
        """
        found = self.open(name)
        if found is None:
            raise self.error(f"a section &{name} is missing")
        return found

    @property
    def is_on(self) -> bool:
        """Whether its parameter does not switch it off.

        Raises
        ------
        EngineInputError
            If the parameter is no yes or no.
        """
        levels = ("SILENT", "LOW", "MEDIUM", "HIGH", "DEBUG")
        if self.parameter.upper() in levels:
            return self.parameter.upper() in levels[:3]  # printed at the usual level of a run
        return as_flag(self.parameter, self)

    def leftovers(self) -> Iterator[Section | Keyword]:
        """What nobody has dealt with: whole sections, and keywords of those that are known."""
        yield from (keyword for keyword in self.keywords if not keyword.taken)
        for section in self.sections:
            if section.taken:
                yield from section.leftovers()
            else:
                yield section

    @staticmethod
    def _mark(found: list[Keyword]) -> Keyword | None:
        for keyword in found:
            keyword.taken = True
        return found[0] if found else None


def as_number(word: str) -> float:
    """A number as Fortran writes it, ``1.0D-3`` included, or a fraction such as ``1/3``.

    Raises
    ------
    ValueError
        If it is none.
    """
    parts = word.upper().replace("D", "E").split("/")
    try:
        values = [float(part) for part in parts]
        number = values[0] if len(values) == 1 else values[0] / values[1] if len(values) == 2 else None
    except (ValueError, ZeroDivisionError):
        number = None
    if number is None or number != number or abs(number) == float("inf"):
        raise ValueError(f"{word!r} is no number")
    return number


def as_flag(text: str, owner: Keyword | Section) -> bool:
    """A yes or no; yes where nothing is written.

    Raises
    ------
    EngineInputError
        If it is neither.
    """
    word = text.strip().upper()
    if word and word not in (*_TRUE, *_FALSE):
        raise owner.error(f"{text!r} is neither true nor false")
    return word not in _FALSE


def parse(lines: Iterable[Line], path: str) -> Section:
    """The tree of an input.

    Parameters
    ----------
    lines : iterable of Line
        From the preprocessor.
    path : str
        The input file, for messages.

    Returns
    -------
    Section
        Without a name; it holds the outermost ones.

    Raises
    ------
    EngineInputError
        If a section is not closed, closed by another name, or a keyword stands outside all of them.
    """
    root = Section("", "", Place(path))
    now = root
    for line in lines:
        words = line.text.split(maxsplit=1)
        first, rest = words[0], words[1].strip() if len(words) > 1 else ""
        if first.startswith("&") and first.upper() != "&END":
            child = Section(first[1:].upper(), rest, line.place, now)
            if not child.name:
                raise EngineInputError("& without a name opens no section", line.place.path, line.place.line)
            if rest.startswith("&"):
                raise child.error(f"{rest} stands on the same line; give each section a line of its own")
            now.sections.append(child)
            now = child
        elif first.upper() == "&END":
            now = _closed(now, rest, line)
        elif now is root:
            raise EngineInputError(
                f"{line.text}: a keyword outside all sections; CP2K's input is &SECTION ... &END", line.place.path,
                line.place.line,
            )  # fmt: skip
        elif now.name in _DATA and first.upper() not in ("UNIT", "SCALED"):
            now.keywords.append(Keyword("", line.text, line.place, now))
        else:
            now.keywords.append(Keyword(first.upper(), rest, line.place, now))
    if now is not root:
        raise now.error("this section has no &END")
    return root


def _closed(now: Section, name: str, line: Line) -> Section:
    """The section around one that ends."""
    if now.parent is None:
        raise EngineInputError(f"{line.text}: no section is open here", line.place.path, line.place.line)
    if name and name.upper().lstrip("&") != now.name:
        raise EngineInputError(
            f"{line.text}: the section that is open is &{now.name} of line {now.place.line}", line.place.path,
            line.place.line,
        )  # fmt: skip
    return now.parent
