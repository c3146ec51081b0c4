"""Selection text in mdtraj's language, and hints for names that the language reads as something else."""

import re

from openmm.app import Topology

#: Keywords of mdtraj's language that names follow.
_NAME_KEYWORDS = frozenset("resname resn name element symbol type segment_id segname code resc".split())
_COMPARISONS = frozenset("== != =~ eq ne".split())
#: Words of the language that end a list of names.
_OPERATORS = frozenset("and or not to in of within".split())
_TOKENS = re.compile(r"'[^']*'|\"[^\"]*\"|[()]|[^\s()'\"]+")
_PLAIN_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def select_text(topology: Topology, text: str) -> tuple[int, ...]:
    """Select atoms by text.

    Parameters
    ----------
    topology : openmm.app.Topology
        The atoms.
    text : str
        A selection in mdtraj's language.

    Returns
    -------
    tuple of int
        Indices in ascending order.

    Raises
    ------
    ValueError
        If the text cannot be read or selects nothing; the message says which names need quotes.
    ImportError
        If mdtraj is not installed.
    """
    try:
        import mdtraj
    except ImportError as error:
        raise ImportError(
            f"Selection text such as {text!r} needs mdtraj, which cannot be imported. Install it with "
            "'pip install mdtraj', or give atom indices."
        ) from error
    hint = quoting_hint(topology, text)
    try:
        selected = mdtraj.Topology.from_openmm(topology).select(text)
    except Exception as error:  # mdtraj raises its parser's own classes, which are no part of its interface
        raise ValueError(
            f"mdtraj cannot read the selection {text!r}: {error}. {hint}Expected its language, for example "
            "'resname ALA' or 'residue 3 to 5 and sidechain'."
        ) from error
    if hint:
        # mdtraj reads an unquoted 4IP as a number: in a longer selection these atoms would be missing without a word.
        raise ValueError(f"The selection {text!r} does not mean what it says. {hint}".rstrip())
    if len(selected) == 0:
        raise ValueError(
            f"The selection {text!r} matches none of the {topology.getNumAtoms()} atoms. Check names and numbers."
        )
    return tuple(int(i) for i in selected)


def quoting_hint(topology: Topology, text: str) -> str:
    """Say which names of the topology stand in a selection without the quotes that they need; empty if none does."""
    names = {residue.name for residue in topology.residues()} | {chain.id for chain in topology.chains()}
    names |= {atom.name for atom in topology.atoms()}
    needed = []
    place = -1  # of the next word in a list of names, -1 outside one
    for word in _TOKENS.findall(text):
        if place != 0 and word in _NAME_KEYWORDS:
            place = 0
        elif place < 0 or word in _COMPARISONS:
            continue
        elif word in "()" or word in _OPERATORS and place > 0:
            place = -1
        else:
            place += 1
            if word in names and (word in _OPERATORS or not _PLAIN_WORD.fullmatch(word)):
                needed.append(word)
    if not needed:
        return ""
    quoted = ", ".join(f"'{word}'" for word in dict.fromkeys(needed))
    return (
        f"Names that start with a digit, hold a sign or are words of the language need quotes: write {quoted} (inside "
        "a text in double quotes, or escaped on the command line). "
    )
