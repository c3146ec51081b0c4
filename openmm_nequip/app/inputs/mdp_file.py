"""GROMACS' parameter files (``.mdp``): names, values, and the line of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...errors import EngineInputError
from ...files import TEXT_ENCODING, text_obstacle

#: Names of earlier GROMACS versions, as ``grompp`` replaces them.
_RENAMED = {
    "nstxtcout": "nstxoutcompressed",
    "xtcprecision": "compressedxprecision",
    "xtcgrps": "compressedxgrps",
    "unconstrainedstart": "continuation",
    "temperature": "gentemp",
    "paircutoff": "nnpotpaircutoff",
    "bdtemp": "reft",
}
_YES, _NO = ("yes", "on", "true", "1"), ("no", "off", "false", "0")


def plain(name: str) -> str:
    """A name or a word as GROMACS compares them: in small letters, without ``-`` and ``_``."""
    return name.lower().replace("-", "").replace("_", "")


class MdpOption(NamedTuple):
    """One line of the file."""

    name: str  #: as it is written
    value: str  #: without comment
    line: int  #: from 1


class MdpFile(Mapping[str, MdpOption]):
    """The options of a file by their plain names.

    Parameters
    ----------
    path : str
        The file.

    Raises
    ------
    EngineInputError
        If it cannot be read, a line is no option, or an option is there twice.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        reason = text_obstacle(path)
        if reason:
            raise EngineInputError(f"the parameter file {reason}", path)
        self._options: dict[str, MdpOption] = {}
        for number, text in _lines(path):
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals or not name:
                raise EngineInputError(f"{text!r} is no option; expected 'name = value'", path, number)
            key = _RENAMED.get(plain(name), plain(name))
            if key in self._options:
                raise EngineInputError(
                    f"{name} is given a second time, after line {self._options[key].line}; give it once", path, number
                )
            self._options[key] = MdpOption(name, value, number)

    def __getitem__(self, name: str) -> MdpOption:
        return self._options[plain(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and plain(name) in self._options

    def line(self, name: str) -> int | None:
        """The line of an option; None for one that is not there."""
        return self[name].line if name in self else None

    def text(self, name: str, default: str = "") -> str:
        """A value as it is written; parameters as :meth:`number`."""
        return self[name].value if name in self and self[name].value else default

    def texts(self, name: str) -> list[str]:
        """The words of a value."""
        return self.text(name).split()

    def word(self, name: str, default: str, known: Sequence[str] = ()) -> str:
        """A value in its plain form.

        Parameters
        ----------
        name : str
            The option.
        default : str
            Where it is not there or empty.
        known : sequence of str
            Plain words that it may be; any if none is given.

        Returns
        -------
        str

        Raises
        ------
        EngineInputError
            If it is none of them.
        """
        value = plain(self.text(name, default))
        if known and value not in known:
            raise self.error(name, f"is {self.text(name)!r}; expected one of {', '.join(known)}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A yes or no; parameters as :meth:`word`.

        Raises
        ------
        EngineInputError
            If it is neither.
        """
        value = self.word(name, "yes" if default else "no")
        if value not in (*_YES, *_NO):
            raise self.error(name, f"is {self.text(name)!r}; expected yes or no")
        return value in _YES

    def number(self, name: str, default: float) -> float:
        """A value as a number.

        Parameters
        ----------
        name : str
            The option.
        default : float
            Where it is not there or empty.

        Returns
        -------
        float

        Raises
        ------
        EngineInputError
            If it is no finite number.
        """
        found = self.numbers(name)
        if len(found) > 1:
            raise self.error(name, f"is {self.text(name)!r}; expected one number")
        return found[0] if found else default

    def count(self, name: str, default: int) -> int:
        """A value as a whole number; parameters as :meth:`number`.

        Raises
        ------
        EngineInputError
            If it is none.
        """
        value = self.number(name, default)
        if value != int(value):
            raise self.error(name, f"is {self.text(name)!r}; expected a whole number")
        return int(value)

    def numbers(self, name: str) -> list[float]:
        """The numbers of a value, none where it is not there.

        Raises
        ------
        EngineInputError
            If a word of it is no number.
        """
        found = []
        for word in self.texts(name):
            try:
                value = float(word)
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise self.error(name, f"has {word!r} in place of a number")
            found.append(value)
        return found

    def error(self, name: str, message: str) -> EngineInputError:
        """An error about an option, to be raised: its name, then the message."""
        shown = self[name].name if name in self else name
        return EngineInputError(f"{shown} {message}", self.path, self.line(name))


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Number and text of lines with content; a backslash at the end joins the next one."""
    waiting, first = "", 0
    with open(path, encoding=TEXT_ENCODING, errors="replace") as file:
        for number, text in enumerate(file, 1):
            first = first or number
            text = text.split(";")[0].rstrip()
            if text.endswith("\\"):
                waiting += text[:-1] + " "
                continue
            if (waiting + text).strip():
                yield first, (waiting + text).strip()
            waiting, first = "", 0
    if waiting.strip():
        yield first, waiting.strip()
