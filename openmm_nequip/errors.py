"""Every error that this package raises about its own work: one base class, facts as attributes.

Bad arguments of single functions stay ValueError and TypeError; the classes here are those that a caller may want to
tell apart. Each also derives from the builtin that earlier releases raised, so existing ``except`` clauses still hold.
The module imports nothing, so that the command line can name errors before anything heavy is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

#: Atoms named in a message at most.
MOST_NAMED = 10


class OpenMMNequIPError(Exception):
    """Base class of the errors of this package."""


class FileError(OpenMMNequIPError, ValueError):
    """A file or folder that cannot be used: what the more special ones share.

    Parameters
    ----------
    message : str
        What is wrong, with the cure.
    path : str, optional
        The file.
    """

    def __init__(self, message: str, path: str | None = None) -> None:
        super().__init__(message)
        self.path = path


class ModelFileError(FileError):
    """A model file is missing, damaged, changed, not trusted, or of a kind this package cannot run."""


class ModelInputError(OpenMMNequIPError, ValueError):
    """An input of a model beside the structure, such as a charge, is missing, unknown to it, or out of its range.

    Parameters
    ----------
    message : str
        What is wrong, with the cure.
    name : str, optional
        The input.
    """

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class ModuleError(OpenMMNequIPError, ValueError):
    """A potential that is a module is declared wrongly, or does not do what its declaration says.

    Parameters
    ----------
    message : str
        What is wrong, with the cure.
    name : str, optional
        What it is about: an input, an output, a setting, or the check that failed.
    path : str, optional
        The module.
    """

    def __init__(self, message: str, name: str | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.path = path


class AtomTypeError(OpenMMNequIPError, ValueError):
    """An atom has no type that the model knows, or the types that were given do not fit.

    Parameters
    ----------
    message : str
        What is wrong, with ``atomTypes`` for the option that gives types.
    index : int, optional
        The atom concerned, in the topology.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index

    @property
    def typed(self) -> str:
        """The message with the option of the command line."""
        entry = re.sub(r"^atomTypes\[(\d+)\]=", r"--types, entry \1 (from 0): ", str(self))
        return re.sub("atomTypes=?", "--types", entry)


class CompileError(OpenMMNequIPError, RuntimeError):
    """A model cannot be compiled with AOTInductor here; the message has the reason."""


class ExportError(OpenMMNequIPError, RuntimeError):
    """A model cannot be given to another engine, or what was written does not give the model's numbers there."""


class KernelsError(OpenMMNequIPError, RuntimeError):
    """A model cannot be run by the fused kernels here; the message has the reason."""


class NotFusableError(KernelsError):
    """A model has a part that the fused kernels do not know, or that they do not reproduce."""


class BuildError(KernelsError):
    """Generated C++ cannot be compiled here; the message has the reason."""


class ModifierError(OpenMMNequIPError, ValueError):
    """A modifier is unknown to a model or cannot be used with it here; the message has the reason."""


class CudaGraphError(OpenMMNequIPError, RuntimeError):
    """CUDA graphs were asked for and cannot be had; the message has the reason."""


class UpstreamError(OpenMMNequIPError, RuntimeError):
    """Something borrowed from another package is not where this release of the package expects it.

    Parameters
    ----------
    message : str
        What is missing, with the versions known to work.
    package : str, optional
        The other package.
    """

    def __init__(self, message: str, package: str | None = None) -> None:
        super().__init__(message)
        self.package = package


class UnknownNameError(OpenMMNequIPError, ValueError, KeyError):
    """A potential or an embedding has a name that OpenMM-ML does not know; the message has those that it does."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError shows its text in quotation marks


class SavedSystemError(OpenMMNequIPError, ValueError):
    """A potential saved in an XML file cannot be read by this release.

    Parameters
    ----------
    message : str
        What is wrong, with the cure.
    version : int, optional
        Version of the saved form.
    """

    def __init__(self, message: str, version: int | None = None) -> None:
        super().__init__(message)
        self.version = version


class NonFiniteError(OpenMMNequIPError, RuntimeError):
    """Positions that are NaN or infinite, or a model that answered so.

    Parameters
    ----------
    what : str
        What is not finite: ``"positions"`` or ``"the model's energy or forces"``.
    indices : iterable of int
        Atoms concerned; empty where the energy alone is not finite.
    n_atoms : int
        Number of atoms there are.
    """

    def __init__(self, what: str, indices: Iterable[int] = (), n_atoms: int = 0) -> None:
        self.what = what
        self.indices: Sequence[int] = tuple(int(i) for i in indices)
        self.n_atoms = n_atoms
        super().__init__(self._message())

    def _message(self) -> str:
        if not self.indices:
            return f"{self.what} are not finite: the energy is NaN or infinite while all forces are finite"
        named = ", ".join(map(str, self.indices[:MOST_NAMED])) + ", ..." * (len(self.indices) > MOST_NAMED)
        return (
            f"{self.what} are NaN or infinite for {len(self.indices)} of {self.n_atoms} atoms (indices {named}); "
            "the structure has left what the model knows: check the starting geometry, the time step and the model"
        )

    def __reduce__(self):
        return type(self), (self.what, self.indices, self.n_atoms)


class SamePlaceError(NonFiniteError):
    """A model that has no finite answer because two atoms are at one place.

    Parameters
    ----------
    what, n_atoms
        As of :class:`NonFiniteError`.
    indices : iterable of int
        The two atoms.
    """

    def _message(self) -> str:
        return (
            f"{self.what} are NaN or infinite for {len(self.indices)} of {self.n_atoms} atoms (indices "
            f"{', '.join(map(str, self.indices))}), which are at one place: no direction leads from one to the other; "
            "check the structure for copies of an atom"
        )


class ComputationError(OpenMMNequIPError, RuntimeError):
    """An error inside a force's function, with the type and traceback in its text: OpenMM passes on nothing else."""


class StructureError(FileError):
    """A structure file cannot be read or used."""


class EngineInputError(OpenMMNequIPError, ValueError):
    """Something in another engine's input cannot be read, or cannot be done here as that engine does it.

    Parameters
    ----------
    message : str
        What is wrong, with the value and the cure.
    path : str, optional
        The file.
    line : int, optional
        Its line, counted from 1; None where a whole file, or what is missing in it, is meant.
    """

    def __init__(self, message: str, path: str | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)
        self.message, self.path, self.line = message, path, line

    def __reduce__(self):
        return type(self), (self.message, self.path, self.line)


class RunFolderError(FileError):
    """A run folder is in use, damaged, or lacks a file that its run needs; nothing in it was changed."""


class OverlapError(OpenMMNequIPError, ValueError):
    """Samples of some states or windows say nothing about the others, so no free energy joins them.

    Parameters
    ----------
    message : str
        Which, with the cure.
    apart, near : sequence of str
        Names of those that stand apart, and of those that hang together with the first.
    """

    def __init__(self, message: str, apart: Sequence[str] = (), near: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.apart, self.near = list(apart), list(near)


class ElementDoubtError(OpenMMNequIPError, ValueError):
    """No element can be told from the names of atoms; the message has them and what to do."""


class SimulationError(OpenMMNequIPError, RuntimeError):
    """A simulation cannot go on; what was written so far is whole.

    Parameters
    ----------
    message : str
        What is wrong.
    indices : iterable of int, optional
        Atoms concerned.
    """

    def __init__(self, message: str, indices: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.indices: Sequence[int] = tuple(int(i) for i in indices)


class UnphysicalError(SimulationError):
    """A simulation has gone where no right one goes: broken bonds, atoms in each other, heat without end.

    Parameters
    ----------
    message : str
        What was seen, with values.
    indices : iterable of int, optional
        Atoms concerned.

    Attributes
    ----------
    state : openmm.State or None
        Where it was; set by whoever still has the simulation.
    stage : str
        Stage of the run, where known.
    """

    def __init__(self, message: str, indices: Iterable[int] = ()) -> None:
        super().__init__(message, indices)
        self.state: Any = None
        self.stage = ""


class CommitteeError(ModelFileError):
    """Models that are no committee: too few, or of different types, units or kind; the message names the files."""


class DeviationError(UnphysicalError):
    """The models of a committee disagree by more than the run was to bear.

    Parameters
    ----------
    message : str
        The deviation, where, and the limit.
    indices : iterable of int, optional
        The atom.
    value, limit : float
        Deviation and limit, eV/Å.
    """

    def __init__(self, message: str, indices: Iterable[int] = (), value: float = 0.0, limit: float = 0.0) -> None:
        super().__init__(message, indices)
        self.value = value
        self.limit = limit


class EngineError(OpenMMNequIPError, ValueError):
    """Another engine is not installed here, or does not know what a run asks for; the message has the cure."""


class RankError(SimulationError):
    """A process of a run on many ranks has ended; the others were ended too.

    Parameters
    ----------
    message : str
        What happened, with what to do.
    indices : iterable of int, optional
        Atoms concerned.
    rank : int, optional
        Which, where that is known.
    """

    def __init__(self, message: str, indices: Iterable[int] = (), rank: int | None = None) -> None:
        super().__init__(message, indices)
        self.rank = rank


class UsageError(OpenMMNequIPError, ValueError):
    """Arguments of the command line that its parser lets pass and that do not make a command."""


class UnavailableError(OpenMMNequIPError, RuntimeError):
    """A contender of a benchmark cannot run here; the message has the reason."""


class NeighborLimitError(OpenMMNequIPError, RuntimeError):
    """A structure has more neighbours than a model has room for.

    Parameters
    ----------
    limit : int
        Neighbours of an atom that there is room for, on average over the atoms (``max_num_neighbors``).
    found : int
        Directed pairs of the structure, each atom with itself included where the model counts it.
    n_atoms : int
        Number of atoms.
    """

    def __init__(self, limit: int, found: int, n_atoms: int) -> None:
        super().__init__(
            f"the structure has {found} pairs for {n_atoms} atoms, {found / max(n_atoms, 1):.1f} for each, and the "
            f"model has room for max_num_neighbors = {limit} for each; give maxNeighbors={-(-found // max(n_atoms, 1))}"
            " or more (--max-neighbors on the command line), which does not change its energies"
        )
        self.limit, self.found, self.n_atoms = limit, found, n_atoms

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit, self.found, self.n_atoms)
