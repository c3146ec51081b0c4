"""The error behind an OpenMMException: kept by a force's function, since OpenMM lets through its text alone.

OpenMM calls a PythonForce's function from C++ and turns what it raises into an exception of its own that has the text
and nothing else. Neither the function nor its error can be reached from there: the Context's System is a copy and a
force does not give out its function. So the function leaves its last error here, and who catches OpenMM's exception
asks for it. Texts are compared, so that an exception of another origin never gets it.
"""

from __future__ import annotations


class _Kept:
    """The last error of any force's function in this process; the text is the one that OpenMM passes on."""

    error: BaseException | None = None
    text: str = ""


def keep_error(error: BaseException, text: str) -> None:
    """Keep an error until the next one.

    Its traceback is let go of, which would keep the model and its arrays alive; ``text`` has it in words.

    Parameters
    ----------
    error : BaseException
        What was raised inside a force's function.
    text : str
        Text of the error that is raised to OpenMM instead.
    """
    _Kept.error, _Kept.text = error, text
    seen: BaseException | None = error
    while seen is not None and seen.__traceback__ is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__


def error_behind(exception: BaseException) -> BaseException:
    """The error inside a force's function that led to an exception of OpenMM.

    Parameters
    ----------
    exception : BaseException
        Any exception.

    Returns
    -------
    BaseException
        The error, or the exception itself where no error is kept whose text it has.
    """
    error, text = _Kept.error, _Kept.text
    return error if error is not None and text and text in str(exception) else exception
