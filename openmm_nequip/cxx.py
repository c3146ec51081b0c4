"""The C++ compiler of this machine, the same for everything that this package compiles.

``CXX`` is a command, not a file: ``CXX="g++ -O2"`` and ``CXX="'/opt/my tools/g++' -O2"`` mean what a shell makes of
them. Without it the first of :data:`COMPILERS` that is installed is taken. Flags in ``CXX`` stand before those of this
package, which win where they disagree.
"""

from __future__ import annotations

import os
import shlex
import shutil

#: Compilers that understand what this package compiles, in the order in which they are looked for.
COMPILERS = ("g++", "clang++", "c++")


def find_compiler() -> list[str] | None:
    """The C++ compiler as a command.

    Returns
    -------
    list of str or None
        The program and the flags given with it in ``CXX``; None if there is none, see :func:`missing_compiler`.
    """
    named = os.environ.get("CXX", "").strip()
    if not named:
        return next(([name] for name in COMPILERS if shutil.which(name)), None)
    try:
        command = shlex.split(named)
    except ValueError:  # a quotation mark without its partner
        return None
    return command if command and shutil.which(command[0]) else None


def missing_compiler() -> str:
    """Why :func:`find_compiler` finds nothing, and what to do.

    Returns
    -------
    str
        One line.
    """
    named = os.environ.get("CXX", "").strip()
    if named:
        return (
            f"CXX={named!r} is not a program; unset CXX or name a C++ compiler, with quotation marks around a path "
            "that has spaces"
        )
    return (
        f"no C++ compiler was found (looked for $CXX, {', '.join(COMPILERS)}); install one, for example with "
        "`apt-get install g++` or `conda install gxx`"
    )


def for_inductor(command: list[str], folder: str) -> dict[str, str]:
    """Environment that makes Inductor call a compiler with its flags: it takes ``CXX`` for a file.

    Parameters
    ----------
    command : list of str
        As :func:`find_compiler` gives it.
    folder : str
        Where a script may be written.

    Returns
    -------
    dict of str to str
        ``CXX``: the program, or a script that calls it with the flags.
    """
    program = os.path.abspath(shutil.which(command[0]) or command[0])  # the compiler may be started elsewhere
    if len(command) == 1:
        return {"CXX": program}
    # Inductor looks at the name to tell GCC from Clang.
    script = os.path.join(folder, os.path.basename(program))
    with open(script, "w", encoding="utf-8") as file:
        file.write(f"#!/bin/sh\nexec {shlex.join([program, *command[1:]])} \"$@\"\n")
    os.chmod(script, 0o755)
    return {"CXX": script}
