"""Systems in XML files: written with a digest, read without running code that a file brings along.

OpenMM's own deserializer unpickles the function of every PythonForce, and a pickle can call anything. Here each pickle
is looked at first: it may name :func:`openmm_nequip.forces.saved.restore` and what release 0.1 wrote, nothing else.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openmm

from .cache import write_atomically
from .errors import SavedSystemError
from .files import obstacle, output_obstacle
from .forces.native import FORCE_TYPE
from .forces.native.plugin import load_plugin
from .forces.saved import load_computation
from .sealed import seal, unseal

#: Classes of force whose XML holds a pickle, and the attribute that holds it.
_PICKLED = {"PythonForce": "function", "PythonTorchForce": "function", FORCE_TYPE: "function"}


def read_system(source: str | os.PathLike[str]) -> openmm.System:
    """Read a System from XML, running nothing but this package's own code.

    A file of :func:`write_system` is compared with the digest in it. OpenMM's own files have none: of those, only what
    this package wrote into its forces is.

    Parameters
    ----------
    source : str or path-like
        The XML text, or the path of a file with it.

    Returns
    -------
    openmm.System

    Raises
    ------
    TypeError
        If it is neither.
    BuildError
        If it has a force of backend Native, which cannot be compiled here.
    SavedSystemError
        If the text is no System, it is damaged, or a force in it would run a function that is not this package's.
    OSError
        If the file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"read_system got {str(source)[:40]!r}; give the text of the XML, or the path of a file")
    text = source if isinstance(source, str) and source.lstrip().startswith("<") else _read(source)
    try:
        text = unseal(text.encode(), xml=True).content.decode()
    except (ValueError, UnicodeError) as error:
        raise SavedSystemError(f"the System's XML is {error}; copy the file again, or save the System again") from error
    check_pickles(text)
    if f'type="{FORCE_TYPE}"' in text:
        load_plugin()  # OpenMM knows the force from here on
    try:
        system = openmm.XmlSerializer.deserialize(text)
    except (openmm.OpenMMException, ValueError) as error:
        raise SavedSystemError(
            f"OpenMM cannot read the System ({error}): the XML is damaged, or of another release of OpenMM; copy the "
            "file again, or save the System again"
        ) from error
    if not isinstance(system, openmm.System):
        raise SavedSystemError(f"the XML holds a {type(system).__name__}, expected a System")
    return system


def write_system(system: openmm.System, path: str | os.PathLike[str]) -> None:
    """Write a System as XML with a digest in it, so that :func:`read_system` notices any damage.

    ``openmm.XmlSerializer`` reads the file as well, and compares nothing.

    Parameters
    ----------
    system : openmm.System
        Any System.
    path : str or path-like
        File to write; one that is there is replaced, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written.
    TypeError
        If it is no System, or no path.
    """
    if not isinstance(system, openmm.System):
        raise TypeError(f"write_system got a {type(system).__name__}; give an openmm.System")
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"write_system: path={path!r} is no path; give a file to write")
    reason = output_obstacle(path)
    if reason:
        raise OSError(f"System file {os.fspath(path)!r} {reason}")
    text = openmm.XmlSerializer.serialize(system)
    write_atomically(Path(path), seal(text.encode(), {"openmm": openmm.version.version}, xml=True))


def _read(path: str | os.PathLike[str]) -> str:
    if not os.fspath(path).strip():
        raise FileNotFoundError("read_system got an empty text; give the text of the XML, or the path of a file")
    reason = obstacle(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"System file {path} {reason}")
    if reason:
        raise SavedSystemError(f"{path} {reason}")
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SavedSystemError(f"{path} is no XML of a System ({error})") from error


def check_pickles(text: str) -> None:
    """Refuse XML whose forces would run functions that are not this package's.

    Parameters
    ----------
    text : str
        XML as OpenMM writes it.

    Raises
    ------
    SavedSystemError
        With the function that a force names, or where the text is no XML.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SavedSystemError("the XML declares entities, which OpenMM never writes; it was not read")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SavedSystemError(f"the text is no XML of a System: {error}") from error
    for node in root.iter():
        attribute = _PICKLED.get(node.get("type", ""))
        if attribute is None:
            continue
        try:
            content = bytes.fromhex(node.get(attribute, ""))
        except ValueError as error:
            raise SavedSystemError(f"the function of a {node.get('type')} is damaged: {error}") from error
        load_computation(content)
