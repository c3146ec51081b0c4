"""The potential behind ``MLPotential("nequip", ...)``: options, checks, and the forces added to a System."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import openmm
import openmm.app
import openmm.unit as unit
from openmmml.mlpotential import Embedding, EmbeddingFactory, MLPotential, MLPotentialImpl, MLPotentialImplFactory

from .forces import make_force
from .forces.spec import PotentialSpec
from .layout import Layout
from .models import locate, open_model, parse_device
from .models.base import Model
from .neighbors import DEFAULT_SKIN_NM
from .units import Units, resolve_units

logger = logging.getLogger(__name__)

NAME = "nequip"
MOLECULES_FORCE = "NequIPMolecules"
#: Keywords of createMixedSystem that OpenMM-ML's embeddings hand on to the potential.
_EMBEDDING_KEYWORDS = ("mlLongRange", "linkAtomDistances")


@dataclass(frozen=True)
class Options:
    """Everything a user can set, with the names of the OpenMM-facing keywords.

    Parameters
    ----------
    atomTypes : sequence of int or str, optional
        Type index or name of each atom that the model describes; by element symbol if not given.
    backend : str
        ``"auto"``, ``"PythonForce"``, ``"TorchForce"`` or ``"PythonTorchForce"``.
    compile : bool, optional
        See :func:`openmm_nequip.load_model`.
    declareMolecules : bool
        Whether the bonds of the topology are declared to OpenMM with zero strength, so that a barostat and the
        wrapping of positions move molecules and not atoms.
    device : str or torch.device, optional
        Where the model runs; by default the device of the Context.
    embedModel : bool
        Whether the System carries the bytes of the model file, rather than its path and SHA-256.
    energyScale, lengthScale : float, optional
        One model energy in kJ/mol and one model length in nm.
    energyUnit, lengthUnit : str or openmm.unit.Unit, optional
        The same by name; eV and angstrom by default.
    precision : str, optional
        ``"single"`` or ``"double"``; must be the model's own.
    properties : dict of str to str, optional
        Properties of the TorchForce: ``useCUDAGraphs``, ``CUDAGraphWarmupSteps``.
    skin : float or openmm.unit.Quantity, optional
        Verlet skin, nm if a plain number.
    trusted : str, optional
        SHA-256 that the model file must have.
    """

    atomTypes: Sequence[int | str] | None = None
    backend: str = "auto"
    compile: bool | None = None
    declareMolecules: bool = True
    device: Any = None
    embedModel: bool = False
    energyScale: float | None = None
    energyUnit: Any = None
    lengthScale: float | None = None
    lengthUnit: Any = None
    precision: str | None = None
    properties: dict[str, str] | None = None
    skin: Any = None
    trusted: str | None = None

    @classmethod
    def names(cls) -> list[str]:
        """All keywords."""
        return [field.name for field in fields(cls)]


def check_keywords(given: Iterable[str], allowed: Iterable[str], where: str) -> None:
    """Raise TypeError for keywords that nothing reads.

    Raises
    ------
    TypeError
        With the unknown names and the known ones.
    """
    allowed = sorted(set(allowed))
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        raise TypeError(f"{where} does not know {', '.join(unknown)}; its keywords are {', '.join(allowed)}")


class NequIPPotentialImplFactory(MLPotentialImplFactory):
    """Creates :class:`NequIPPotentialImpl` for OpenMM-ML."""

    def createImpl(self, name: str, **args: Any) -> NequIPPotentialImpl:
        """Create the implementation.

        Parameters
        ----------
        name : str
            Name given to MLPotential.
        args
            ``modelPath`` and any field of :class:`Options`.

        Raises
        ------
        TypeError
            If ``modelPath`` is missing or a keyword is unknown.
        ModelFileError
            If the file is not a model.
        """
        if "modelPath" not in args:
            raise TypeError(
                f"MLPotential({name!r}, ...) needs modelPath=: a .ckpt, .nequip.zip, .nequip.pth or .nequip.pt2 file, "
                "a deployed .pth, or a nequip.net: id"
            )
        check_keywords(args, ["modelPath", *Options.names()], f"MLPotential({name!r}, ...)")
        return NequIPPotentialImpl(name, **args)


class NequIPPotentialImpl(MLPotentialImpl):
    """NequIP and Allegro models of every format as an OpenMM-ML potential.

    Parameters
    ----------
    name : str
        Name given to MLPotential.
    modelPath : str or path-like
        Model file or ``nequip.net:`` id.
    options
        Fields of :class:`Options`; those given to ``createSystem`` take precedence.
    """

    def __init__(self, name: str, modelPath: str | os.PathLike[str], **options: Any) -> None:
        self.name = name
        self.modelPath = modelPath
        self._options = options
        self.source = locate(modelPath, options.get("trusted"))

    def options(self, given: dict[str, Any]) -> Options:
        """The options in force, from those of the constructor and those of the call.

        Raises
        ------
        TypeError
            For an unknown keyword.
        """
        check_keywords(given, [*Options.names(), *_EMBEDDING_KEYWORDS], "createSystem or createMixedSystem")
        merged = self._options | {key: value for key, value in given.items() if key in Options.names()}
        return Options(**merged)

    def getMLLongRange(self) -> bool | None:
        """NequIP and Allegro interactions end at the cutoff; the user's ``mlLongRange`` decides as in OpenMM-ML."""
        return None

    def addForces(
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        **args: Any,
    ) -> None:
        """Add the model, and zero-strength bonds that keep molecules whole, to a System.

        Parameters
        ----------
        topology : openmm.app.Topology
            Elements, bonds and, if periodic, the box.
        system : openmm.System
            Gets the forces; it has one particle per atom of the topology.
        atoms : iterable of int or None
            The atoms that the model describes; all if None.
        forceGroup : int
            Force group of the new forces.
        args
            Fields of :class:`Options`.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            For bad options, unknown elements, a bad box, or a backend that is not there.
        """
        options = self.options(args)
        selected = None if atoms is None else [int(i) for i in atoms]
        periodic = topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions()
        if periodic:
            check_box(system.getDefaultPeriodicBoxVectors())
        members = list(topology.atoms())
        members = members if selected is None else [members[i] for i in selected]
        model = self.describe(options)
        types = atom_types(model.info.type_names, members, options.atomTypes)
        spec = self.spec(options, Layout(len(members), types), periodic)
        force = make_force(spec, selected, system.getNumParticles(), options.backend, options.properties)
        force.setForceGroup(forceGroup)
        system.addForce(force)
        if options.declareMolecules:
            declare_molecules(system, topology, selected, periodic, forceGroup)

    def describe(self, options: Options) -> Model:
        """Load the model for its facts, on the device it will run on or else the CPU."""
        model = open_model(self.source, parse_device(options.device), options.compile)
        check_precision(options.precision, model.info.dtype)
        return model

    def spec(
        self, options: Options, layout: Layout, periodic: bool, lambda_name: str | None = None
    ) -> PotentialSpec:
        """The potential on a given layout of particles."""
        units = resolve_units(options.lengthUnit, options.energyUnit, options.lengthScale, options.energyScale)
        log_units(self.source.path, units)
        spec = PotentialSpec(
            source=self.source,
            units=units,
            layout=layout,
            periodic=periodic,
            skin_nm=skin_in_nm(options.skin),
            device=None if options.device is None else str(parse_device(options.device)),
            compile=options.compile,
            lambda_name=lambda_name,
        )
        return spec.embed() if options.embedModel else spec


def log_units(path: str, units: Units) -> None:
    """Say at INFO which units are in force and whether they were assumed."""
    logger.info("units of %s: %s%s", path, units.describe(), " (assumed; NequIP files state none)" * units.assumed)


def skin_in_nm(skin: Any) -> float:
    """The Verlet skin in nm.

    Raises
    ------
    ValueError
        If it is negative, not finite or not a length.
    """
    if skin is None:
        return DEFAULT_SKIN_NM
    try:
        value = float(skin.value_in_unit(unit.nanometer) if unit.is_quantity(skin) else skin)
    except TypeError as error:
        raise ValueError(f"skin={skin!r} is not a length; give nm as a number or a quantity of length") from error
    if not np.isfinite(value) or value < 0:
        raise ValueError(f"skin={skin!r} must be a finite length >= 0 (nm if a plain number)")
    return value


def check_precision(precision: str | None, dtype: str) -> None:
    """Accept ``precision`` if it is the model's own.

    Raises
    ------
    ValueError
        If the name is unknown or the model has the other precision.
    """
    names = {"single": "float32", "double": "float64"}
    if precision is None:
        return
    if precision not in names:
        raise ValueError(f"precision={precision!r} is unknown; use 'single', 'double' or None for the model's own")
    if names[precision] != dtype:
        raise ValueError(
            f"precision={precision!r} was asked for, but the model computes in {dtype}: a NequIP model's precision is "
            "fixed when it is trained (`model_dtype`); leave precision out"
        )


def check_box(box: Any) -> None:
    """Refuse a box that OpenMM would not accept or that has no volume.

    Parameters
    ----------
    box : sequence of three Vec3 quantities
        Periodic box vectors.

    Raises
    ------
    ValueError
        If the volume is zero or the vectors are not in OpenMM's reduced form.
    """
    a, b, c = (np.array(vector.value_in_unit(unit.nanometer)) for vector in box)
    matrix = np.array([a, b, c])
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise ValueError(f"the periodic box {matrix.tolist()} nm has no volume; set the topology's box vectors")
    tolerance = 1e-6
    lower = max(abs(a[1]), abs(a[2]), abs(b[2])) <= tolerance and min(a[0], b[1], c[2]) > 0
    reduced = a[0] >= 2 * abs(b[0]) - tolerance and a[0] >= 2 * abs(c[0]) - tolerance
    reduced = reduced and b[1] >= 2 * abs(c[1]) - tolerance
    if not (lower and reduced):
        raise ValueError(
            f"the periodic box {matrix.tolist()} nm is not in reduced form (a along x, b in the xy plane, "
            "2|b_x| <= a_x, 2|c_x| <= a_x, 2|c_y| <= b_y); reduce it with "
            "openmm.app.internal.unitcell.reducePeriodicBoxVectors and rotate the positions with it"
        )


def atom_types(
    type_names: Sequence[str], atoms: Sequence[openmm.app.topology.Atom], given: Sequence[int | str] | None
) -> np.ndarray:
    """Model type of each atom, by element symbol or as given.

    Parameters
    ----------
    type_names : sequence of str
        The model's types.
    atoms : sequence of openmm.app.topology.Atom
        The atoms that the model describes.
    given : sequence of int or str, optional
        Type index or name per atom.

    Returns
    -------
    numpy.ndarray, (len(atoms),) int64

    Raises
    ------
    ValueError
        If an element is unknown to the model, or ``given`` has the wrong length, an unknown name or an index out of
        range; the message names the first atom concerned.
    """
    index = {name: i for i, name in enumerate(type_names)}
    known = ", ".join(type_names)
    if given is None:
        types = []
        for atom in atoms:
            if atom.element is None:
                raise ValueError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) has no element, and the model describes "
                    f"atoms of the types {known}; remove extra particles, or give atomTypes="
                )
            if atom.element.symbol not in index:
                raise ValueError(
                    f"atom {atom.index} ({atom.name} of {atom.residue.name}) is {atom.element.symbol}, which the model "
                    f"does not know; its types are {known}. If these are not element symbols, give atomTypes="
                )
            types.append(index[atom.element.symbol])
        return np.array(types, dtype=np.int64)
    given = list(given)
    if len(given) != len(atoms):
        raise ValueError(f"atomTypes has {len(given)} entries; expected one for each of the {len(atoms)} atoms")
    types = []
    for position, value in enumerate(given):
        number = index.get(value) if isinstance(value, str) else value
        if number is None or int(number) != number or not 0 <= number < len(type_names):
            raise ValueError(
                f"atomTypes[{position}]={value!r} is no type of the model; use 0 to {len(type_names) - 1} or one of "
                f"{known}"
            )
        types.append(int(number))
    return np.array(types, dtype=np.int64)


def declare_molecules(
    system: openmm.System,
    topology: openmm.app.Topology,
    atoms: Sequence[int] | None,
    periodic: bool,
    forceGroup: int,
) -> None:
    """Add the topology's bonds between the given atoms with zero strength: OpenMM finds molecules by bonds."""
    members = None if atoms is None else set(atoms)
    bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    bonds = [pair for pair in bonds if members is None or (pair[0] in members and pair[1] in members)]
    if not bonds:
        return
    force = openmm.HarmonicBondForce()
    force.setName(MOLECULES_FORCE)
    force.setForceGroup(forceGroup)
    force.setUsesPeriodicBoundaryConditions(periodic)
    for i, j in bonds:
        force.addBond(i, j, 0.0, 0.0)
    system.addForce(force)


class RegistrationFactory(EmbeddingFactory):
    """An embedding that is none: constructing it registers the potential.

    OpenMM-ML has a potential named ``nequip`` of its own, and of two entry points with one name the later wins, in an
    order nobody controls. Its loop over the embeddings runs after the one over the potentials, so what this
    constructor registers holds.
    """

    def __init__(self) -> None:
        register()

    def createEmbedding(self, name: str, **args: Any) -> Embedding:
        """Refuse: there is no embedding under this name.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(f"embedding={name!r} only registers openmm-nequip; use embedding='mechanical'")


def register() -> None:
    """Make ``MLPotential("nequip", ...)`` ours."""
    MLPotential.registerImplFactory(NAME, NequIPPotentialImplFactory())
