"""Facts as a reader sees them: one line of text in a terminal, a table in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

#: Names, ranges and the like after which a line is cut; a table has them all.
_FEW = 6


def one_line(name: str, facts: Iterable[str]) -> str:
    """The ``repr`` of an object: its class and what is worth knowing.

    Parameters
    ----------
    name : str
        Of the class.
    facts : iterable of str
        Empty ones are left out.

    Returns
    -------
    str
    """
    return f"<{name}: {'; '.join(fact for fact in facts if fact)}>"


def counted(count: int, noun: str) -> str:
    """A number and its noun: ``1 atom``, ``2 atoms``.

    Parameters
    ----------
    count : int
        The number.
    noun : str
        In the singular.

    Returns
    -------
    str
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def few(words: Sequence[Any], between: str = " ") -> str:
    """The first of many words.

    Parameters
    ----------
    words : sequence
        All of them.
    between : str
        Stands between two.

    Returns
    -------
    str
    """
    shown = between.join(map(str, words[:_FEW]))
    return shown if len(words) <= _FEW else f"{shown}{between}..."


def as_ranges(numbers: Iterable[int]) -> list[str]:
    """Whole numbers in order, neighbours drawn together: ``["0-21", "30"]``.

    Parameters
    ----------
    numbers : iterable of int
        In the caller's order.

    Returns
    -------
    list of str
    """
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [f"{first}-{last}" if last > first else str(first) for first, last in found]


def html_facts(title: str, facts: Iterable[tuple[str, Any]]) -> str:
    """Names and values as a table for a notebook.

    Parameters
    ----------
    title : str
        Above the table.
    facts : iterable of (str, object)
        Names and values; those that are None or empty are left out.

    Returns
    -------
    str
        HTML, with everything escaped.
    """
    shown = [(name, str(value)) for name, value in facts if value is not None and str(value)]
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in shown
    )
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def html_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table for a notebook; nothing where there is no row.

    Parameters
    ----------
    title : str
        Above the table.
    heads : sequence of str
        Of the columns.
    rows : iterable of sequence
        Cells; None is an empty one.

    Returns
    -------
    str
        HTML, with everything escaped.
    """

    def cells(row: Sequence[Any], tag: str) -> str:
        texts = ("" if value is None else escape(str(value)) for value in row)
        return "".join(f'<{tag} style="text-align:left">{text}</{tag}>' for text in texts)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    if not body:
        return ""
    head = f"<tr>{cells(heads, 'th')}</tr>"
    return f"<div><b>{escape(title)}</b><table><thead>{head}</thead><tbody>{body}</tbody></table></div>"
