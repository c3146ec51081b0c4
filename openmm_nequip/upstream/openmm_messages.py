"""What messages of OpenMM and torch say, where there is nothing but a message."""

from __future__ import annotations

import re

_NOT_FINITE = re.compile(r"\bNaN\b|\binfinite\b", re.IGNORECASE)
_SCRIPT_TRACE = "The following operation failed in the TorchScript"
#: Types of the exceptions that wrap an error on its way through OpenMM.
_WRAPPER = re.compile(r"^(?:\w*ComputationError|OpenMMException|Exception|RuntimeError):\s*")


def says_not_finite(text: str) -> bool:
    """Whether a message of OpenMM speaks of numbers that are NaN or infinite.

    Borrowed: the words "NaN" and "infinite" of OpenMM's texts, such as "Particle coordinate is NaN" of its integrators
    and "Particle position is NaN" of its file writers: there is no other sign. Known to work: OpenMM 8.2 to 8.6. Where
    they change, a simulation that breaks down is reported without the advice that goes with it. Test:
    ``tests/test_run.py``.

    Parameters
    ----------
    text : str
        The message.

    Returns
    -------
    bool
    """
    return bool(_NOT_FINITE.search(text))


def says_damaged(text: str) -> bool:
    """Whether a message of torch's readers speaks of an archive that is not as it was written.

    Borrowed: the words "PytorchStreamReader", "istream reader failed" and "corrupted" of torch's texts. Known to work:
    torch 2.9 to 2.13. Where they change, a damaged file is reported in torch's own words. Test:
    ``tests/test_bit_flips.py``.

    Parameters
    ----------
    text : str
        The message.

    Returns
    -------
    bool
    """
    return any(words in text for words in ("PytorchStreamReader", "istream reader failed", "corrupted"))


def first_line(text: str) -> str:
    """The line of a message that says what is wrong.

    Borrowed: names of exceptions that OpenMM puts before an error's text, and the form of a TorchScript trace, whose
    error stands at its end. Known to work: OpenMM 8.2 to 8.6, torch 2.9 to 2.13. Where they change, the line is longer
    or less clear. Test: ``tests/test_upstream_openmm.py``.

    Parameters
    ----------
    text : str
        The message.

    Returns
    -------
    str
        Empty for an empty message.
    """
    lines = text.strip().splitlines()
    if not lines:
        return ""
    if lines[0].startswith(_SCRIPT_TRACE):
        return f"TorchScript: {lines[-1].strip()}"
    return _WRAPPER.sub("", lines[0].strip())
