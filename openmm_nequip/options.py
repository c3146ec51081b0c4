"""The options of a potential, with the names of the OpenMM-facing keywords, and their checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import openmm.unit as unit

from .choices import BACKENDS
from .committee_bias import CommitteeBias, parse_bias
from .graph.neighbors import DEFAULT_SKIN_NM
from .models.base import ModelInfo
from .models.committee_path import parse_drive
from .models.execution import Execution
from .models.graph_inputs import parse_inputs
from .models.modules.module_interface import parse_interface
from .models.rebuilding import Settings, make_settings
from .models.source import digests_given
from .models.units_in_force import units_of
from .units import Units, resolve_units

#: A skin beyond this is a slip of the unit: a list takes memory with the third power of cutoff and skin.
THICKEST_SKIN_NM = 5.0


@dataclass(frozen=True)
class Options:
    """Everything a user can set.

    Parameters
    ----------
    atomCharges : sequence of float, optional
        Charge in e of each atom that the model describes, for modules that take them.
    atomTypes : sequence of int or str, optional
        Type index or name of each atom that the model describes; by element symbol if not given.
    backend : str
        ``"auto"``, ``"Native"``, ``"PythonForce"``, ``"TorchForce"`` or ``"PythonTorchForce"``.
    committee : sequence of str or path-like, optional
        Several models as one: all of them, or those beside ``modelPath``, which then comes first (and may be left out
        where all are named). They are of the same types and units.
    committeeBias : sequence of two, optional
        Keeps a simulation by the mean of a committee where its models agree, see :mod:`openmm_nequip.committee_bias`:
        standard deviation of the energy up to which nothing is added, and force constant beyond; eV and 1/eV if plain
        numbers.
    compile : bool, optional
        See :func:`openmm_nequip.load_model`.
    coulombCutoff : float or openmm.unit.Quantity, optional
        For TorchMD-Net checkpoints: cutoff of the model's own Coulomb term, nm if a plain number, in place of the
        file's; a periodic System needs one.
    cudaGraphs : bool or str
        Whether steps on a CUDA device are replayed from a CUDA graph: ``"auto"``, True (an error where it cannot be) or
        False, see :mod:`openmm_nequip.evaluate.cuda_graphs`.
    declareMolecules : bool
        Whether the bonds of the topology are declared to OpenMM with zero strength, so that a barostat and the
        wrapping of positions move molecules and not atoms.
    device : str or torch.device, optional
        Where the model runs; by default the device of the Context.
    drive : str or int, optional
        Of a committee: ``"mean"`` (default) moves the atoms by the mean of its forces; ``0`` by those of the first
        model alone, at its price, while the others are asked by a reporter
        (:class:`openmm_nequip.reporters.DeviationReporter`).
    embedModel : bool
        Whether the System carries the bytes of the model file, rather than its path and SHA-256.
    kernels : str
        ``"auto"``, ``"none"`` or ``"fused"``, see :func:`openmm_nequip.load_model`.
    energyScale, lengthScale : float, optional
        One model energy in kJ/mol and one model length in nm.
    energyUnit, lengthUnit : str or openmm.unit.Unit, optional
        The same by name; by default what the file states, else eV and angstrom. TorchMD-Net checkpoints have no such
        default.
    linkType : int or str, optional
        Model type of the caps of cut bonds; the link element's symbol by default.
    maxNeighbors : int, optional
        For TorchMD-Net checkpoints: neighbours of an atom for which there is room, in place of the file's
        ``max_num_neighbors``; it does not change energies.
    modelInputs : mapping of str to number, optional
        What the model takes beside the structure, such as ``{"charge": 1}``; with several models in one hybrid System
        each gets those it knows, or a list has a mapping for each.
    moduleInputs : str, sequence of str or mapping, optional
        What a module of no known format takes and gives, in order, such as ``"atom-positions,atom-numbers,box,pbc"``;
        see :func:`openmm_nequip.models.modules.module_interface.parse_interface`.
    modifiers : sequence of str, optional
        nequip's modifiers, such as ``enable_OpenEquivariance``, see :func:`openmm_nequip.load_model`.
    precision : str, optional
        ``"single"`` or ``"double"``; must be the model's own.
    properties : dict of str to str, optional
        Properties of the TorchForce: ``useCUDAGraphs``, ``CUDAGraphWarmupSteps``.
    removeReferenceEnergy : bool, optional
        For TorchMD-Net checkpoints trained on energies less those of the free atoms (``remove_ref_energy``): False adds
        the atoms' energies again, True does not; None leaves it to the file.
    skin : float or openmm.unit.Quantity, optional
        Verlet skin, nm if a plain number.
    tables : bool
        Whether fused kernels tabulate the radial networks, see :func:`openmm_nequip.load_model`.
    trusted : str or sequence of str, optional
        SHA-256 that the model file must have; of a committee, those of all its models.
    """

    atomCharges: Sequence[float] | None = None
    atomTypes: Sequence[int | str] | None = None
    backend: str = "auto"
    committee: Sequence[Any] | None = None
    committeeBias: Any = None
    compile: bool | None = None
    coulombCutoff: Any = None
    cudaGraphs: bool | str = "auto"
    declareMolecules: bool = True
    device: Any = None
    drive: str | int | None = None
    embedModel: bool = False
    energyScale: float | None = None
    energyUnit: Any = None
    kernels: str = "auto"
    lengthScale: float | None = None
    lengthUnit: Any = None
    linkType: int | str | None = None
    maxNeighbors: int | None = None
    modelInputs: Mapping[str, float] | Sequence[Mapping[str, float]] | None = None
    modifiers: Sequence[str] | None = None
    moduleInputs: Any = None
    precision: str | None = None
    properties: dict[str, str] | None = None
    removeReferenceEnergy: bool | None = None
    skin: Any = None
    tables: bool = True
    trusted: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what no model can be run with, whichever road an option has come.

        Raises
        ------
        ValueError, TypeError, ModifierError, ModuleError, CudaGraphError
            With the option, its value and what may be given.
        """
        _ = self.execution, self.units, self.bias
        skin_in_nm(self.skin)
        digests_given(self.trusted)
        parse_drive(self.drive)
        if self.moduleInputs is not None:
            parse_interface(self.moduleInputs)
        check_precision(self.precision)
        for name in ("declareMolecules", "embedModel"):
            check_flag(name, getattr(self, name))
        if self.backend not in BACKENDS:
            raise ValueError(f"backend={self.backend!r} is unknown; use one of {', '.join(BACKENDS)}")
        _check_charges(self.atomCharges)
        types = self.atomTypes
        if isinstance(types, (str, bytes)) or not (types is None or hasattr(types, "__iter__")):
            raise TypeError(
                f"atomTypes={self.atomTypes!r} is no list; give the type (index or name) of each atom in a list"
            )
        if isinstance(self.linkType, bool) or not isinstance(self.linkType, (int, str, np.integer, type(None))):
            raise TypeError(f"linkType={self.linkType!r} is neither the name nor the index of one of the model's types")
        _check_properties(self.properties)

    @property
    def execution(self) -> Execution:
        """How the model is run, checked.

        Raises
        ------
        ValueError, TypeError, ModelInputError, ModifierError, CudaGraphError
            As :class:`Execution`.
        """
        modifiers: Any = self.modifiers
        inputs: Any = self.modelInputs
        if isinstance(inputs, (list, tuple)) and all(isinstance(each, Mapping) for each in inputs):
            for each in inputs:
                parse_inputs(each)
            inputs = None  # of several models, each has its own: NequIPPotentialImpl.execution
        settings = self.settings
        return Execution(
            self.device, self.compile, self.kernels, self.tables, modifiers, self.cudaGraphs, inputs, settings
        )

    @property
    def settings(self) -> Settings:
        """Hyperparameters of the model that are set otherwise.

        Raises
        ------
        TypeError, ValueError
            As :func:`openmm_nequip.models.rebuilding.make_settings`.
        """
        return make_settings(self.removeReferenceEnergy, self.maxNeighbors, self.coulombCutoff)

    @property
    def bias(self) -> CommitteeBias | None:
        """What is added where the models of a committee disagree.

        Raises
        ------
        ValueError
            As :func:`openmm_nequip.committee_bias.parse_bias`.
        """
        return parse_bias(self.committeeBias)

    @property
    def units(self) -> Units:
        """The model's units as far as the options say, see :meth:`units_for`.

        Raises
        ------
        ValueError
            As :func:`openmm_nequip.units.resolve_units`.
        """
        return resolve_units(self.lengthUnit, self.energyUnit, self.lengthScale, self.energyScale)

    def units_for(self, info: ModelInfo) -> Units:
        """The units of a model: those of the options, else those that its file states.

        Raises
        ------
        ModuleError, ValueError
            As :func:`openmm_nequip.models.units_in_force.units_of`.
        """
        return units_of(info, self.lengthUnit, self.energyUnit, self.lengthScale, self.energyScale)

    @classmethod
    def names(cls) -> list[str]:
        """All keywords."""
        return [field.name for field in fields(cls)]


def check_keywords(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raise TypeError for keywords that nothing reads.

    Parameters
    ----------
    given : iterable of str
        Keywords that were given.
    allowed : iterable of str
        Keywords that are read.
    where : str
        The function they were given to.

    Raises
    ------
    TypeError
        With the unknown names and the known ones.
    """
    allowed = sorted(set(allowed))
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise TypeError(f"{where} does not know {', '.join(unknown)}; its keywords are {', '.join(allowed)}")


def check_flag(name: str, value: Any) -> None:
    """Raise TypeError unless a value is True or False: texts such as ``"no"`` count as true in Python."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}={value!r} is neither True nor False")


def _check_charges(charges: Any) -> None:
    listed = charges is None or (hasattr(charges, "__iter__") and not isinstance(charges, (str, bytes, Mapping)))
    try:
        good = listed and (charges is None or bool(np.isfinite(np.array(list(charges), dtype=float)).all()))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise TypeError(f"atomCharges={charges!r} is no list of finite numbers; give the charge of each atom in e")


def _check_properties(properties: Any) -> None:
    known = ("useCUDAGraphs", "CUDAGraphWarmupSteps")
    if properties is None:
        return
    if not isinstance(properties, dict) or not all(isinstance(v, str) for pair in properties.items() for v in pair):
        raise TypeError(f"properties={properties!r}: give a dict of texts, such as {{'useCUDAGraphs': 'true'}}")
    unknown = sorted(set(properties) - set(known))
    if unknown:
        raise ValueError(f"properties: a TorchForce has no {', '.join(unknown)}; it has {', '.join(known)}")


def skin_in_nm(skin: Any) -> float:
    """The Verlet skin in nm.

    Raises
    ------
    ValueError
        If it is negative, not finite, not a length, or beyond :data:`THICKEST_SKIN_NM`.
    """
    if skin is None:
        return DEFAULT_SKIN_NM
    try:
        value = skin.value_in_unit(unit.nanometer) if unit.is_quantity(skin) else skin
        if isinstance(value, (bool, np.bool_, str, bytes)):
            raise TypeError
        value = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"skin={skin!r} is not a length; give nm as a number or a quantity of length") from error
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"skin={skin!r} must be a finite length >= 0 (nm if a plain number)")
    if value > THICKEST_SKIN_NM:
        raise ValueError(
            f"skin={skin!r} is {value:g} nm: a list of all pairs within the cutoff and this skin would be many times "
            f"larger than what it saves; give at most {THICKEST_SKIN_NM:g} nm ({DEFAULT_SKIN_NM} is a good choice)"
        )
    return value


def check_precision(precision: str | None, dtype: str | None = None) -> None:
    """Accept ``precision`` if it is the model's own.

    Parameters
    ----------
    precision : str or None
        ``"single"``, ``"double"`` or None.
    dtype : str, optional
        ``"float32"`` or ``"float64"``, the model's; None where it is not known yet.

    Raises
    ------
    ValueError
        If the name is unknown or the model has the other precision.
    """
    names = {"single": "float32", "double": "float64"}
    if precision is None:
        return
    if not isinstance(precision, str) or precision not in names:
        raise ValueError(f"precision={precision!r} is unknown; use 'single', 'double' or None for the model's own")
    if dtype is not None and names[precision] != dtype:
        raise ValueError(
            f"precision={precision!r} was asked for, but the model computes in {dtype}: a NequIP model's precision is "
            "fixed when it is trained (`model_dtype`); leave precision out"
        )
