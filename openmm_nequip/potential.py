"""The potential behind ``MLPotential("nequip", ...)``: options, checks, and the forces added to a System."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import openmm
import openmm.app
from openmmml.mlpotential import MLPotentialImpl

from .choices import POTENTIAL_NAME
from .evaluate.placement import Placement
from .forces import make_force
from .forces.spec import PotentialSpec
from .hybrid import MixedSystem, build_mixed_system
from .hybrid.build_options import OPENMM_ML_KEYWORDS, HybridOptions
from .hybrid.model_forces import ModelForces
from .models import (
    Execution,
    ModelInfo,
    ModelSource,
    check_execution,
    check_inputs,
    check_trusted,
    locate,
    parse_device,
    read_info,
    share_inputs,
    with_committee,
)  # fmt: skip
from .models.committee_path import check_biased
from .models.units_in_force import log_units
from .options import Options, check_keywords, check_precision, skin_in_nm
from .topology import atom_types, charges_of, check_box, check_density, declare_molecules, is_periodic, topology_box
from .upstream.openmm_ml import asked_to_remove_constraints

logger = logging.getLogger(__name__)

#: Keywords of createMixedSystem that the builder of hybrid Systems reads; OpenMM-ML hands them on.
_BUILDER_KEYWORDS = tuple(name for name in HybridOptions.names() if name not in OPENMM_ML_KEYWORDS)
#: Fields of :class:`Options` that mean something in hybrid Systems only.
_HYBRID_OPTIONS = ("linkType",)
#: And those that decide which model it is.
_SOURCE_OPTIONS = ("committee", "drive", "moduleInputs")


class NequIPPotentialImpl(MLPotentialImpl):
    """NequIP and Allegro models of every format as an OpenMM-ML potential.

    Parameters
    ----------
    name : str
        Name given to MLPotential.
    modelPath : str, path-like or sequence of these
        Model file or ``nequip.net:`` id; several are a committee, TorchMD-Net checkpoints an ensemble. May be None with
        ``committee=``.
    options
        Fields of :class:`Options`; those given to ``createSystem`` take precedence.
    """

    def __init__(self, name: str, modelPath: Any, **options: Any) -> None:
        self.name = name
        self.modelPath = modelPath
        self._options = options
        Options(**options)  # refuses what cannot be, before the file is looked at
        self.source = self._locate(options)
        #: A list of checkpoints is one file in the cache, which may be emptied: such a System carries it.
        self._bundled = isinstance(modelPath, (list, tuple)) and not self.source.members
        #: Values of the model's inputs in a hybrid System, which may have several models.
        self.inputs: Any = None

    def _locate(self, options: Mapping[str, Any]) -> ModelSource:
        """The model or the committee that the options name."""
        path = with_committee(self.modelPath, options.get("committee"), options.get("drive"))
        return locate(path, options.get("trusted"), options.get("moduleInputs"))

    def options(self, given: dict[str, Any], hybrid: bool = True) -> Options:
        """The options in force, from those of the constructor and those of the call.

        Parameters
        ----------
        given : dict
            Keywords of the call.
        hybrid : bool
            Whether they are for a hybrid System, which has more of them.

        Returns
        -------
        Options

        Raises
        ------
        TypeError
            For an unknown keyword, or one of hybrid Systems where there is no force field.
        ModelFileError
            If the file is not the one that ``trusted`` names, or models do not make a committee.
        """
        if hybrid:
            check_keywords(given, [*Options.names(), *_BUILDER_KEYWORDS], "createMixedSystem")
        else:
            known = [name for name in Options.names() if name not in _HYBRID_OPTIONS]
            foreign = sorted(given.keys() & {*_BUILDER_KEYWORDS, *_HYBRID_OPTIONS} - {*known})
            if foreign:
                raise TypeError(
                    f"createSystem does not know {', '.join(foreign)}: hybrid Systems have it (createMixedSystem, "
                    "create_mixed_system), and here the model describes all atoms; leave it out"
                )
            check_keywords(given, known, "createSystem")
        merged = self._options | {key: value for key, value in given.items() if key in Options.names()}
        options = Options(**merged)
        if any(given.get(name) is not None for name in _SOURCE_OPTIONS):
            self.source = self._locate(merged)
        check_trusted(self.source, options.trusted)
        return options

    def getMLLongRange(self) -> bool | None:
        """NequIP and Allegro interactions end at the cutoff; the user's ``mlLongRange`` decides as in OpenMM-ML."""
        return None

    def addForces(
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        /,
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
        options = self.options(args, hybrid=False)
        selected = None if atoms is None else [int(i) for i in atoms]
        periodic = topology_box(topology) is not None or is_periodic(topology, system)
        if periodic:
            check_box(system.getDefaultPeriodicBoxVectors())
        members = list(topology.atoms())
        members = members if selected is None else [members[i] for i in selected]
        if not members:
            raise ValueError("the topology has no atoms; give one with atoms that the model is to describe")
        info = self.read_info(options)
        types = atom_types(info.type_names, members, options.atomTypes)
        info.check_box(periodic)
        if periodic:
            box = system.getDefaultPeriodicBoxVectors()
            reach = info.reach * options.units_for(info).length
            check_density(len(members), box, reach + skin_in_nm(options.skin))
        info.check_charges(options.atomCharges)
        placement = Placement(len(members), types, own_charges=charges_of(len(members), options.atomCharges))
        spec = self.spec(options, placement, periodic)
        force = make_force(spec, selected, system.getNumParticles(), options.backend, options.properties)
        force.setForceGroup(forceGroup)
        system.addForce(force)
        if options.declareMolecules:
            declare_molecules(system, topology, selected, periodic, forceGroup)

    def getSupportedEmbeddings(self) -> list[str]:
        """Our own mechanical embedding stands in for OpenMM-ML's."""
        return ["mechanical"]

    def createMixedSystem(
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: list[Any],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        **args: Any,
    ) -> openmm.System | dict[str, Any]:
        """Called by ``MLPotential.createMixedSystem``; :func:`create_mixed_system` does the same with a report.

        Parameters
        ----------
        topology, system, atoms, forceGroup, interpolate, returnInfo
            As ``MLPotential.createMixedSystem``; the topology stays as it is, link caps are no particles.
        embedding : str
            ``"mechanical"``.
        args
            Fields of :class:`Options` and of :class:`openmm_nequip.hybrid.HybridOptions`.
        """
        if atoms and all(isinstance(item, str) and len(item) == 1 for item in atoms):
            atoms = "".join(atoms)  # type: ignore[assignment]  # selection text, which OpenMM-ML took for a list
        mixed = self.mix(
            topology, system, atoms, args, forceGroup=forceGroup, interpolate=interpolate,
            removeConstraints=asked_to_remove_constraints(),
        )  # fmt: skip
        if returnInfo:
            return {"system": mixed.system, "topology": mixed.topology, "oldToNew": mixed.oldToNew}
        return mixed.system

    def mix(
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Any,
        given: dict[str, Any],
        others: Sequence[NequIPPotentialImpl] = (),
        **builder: Any,
    ) -> MixedSystem:
        """Build a hybrid System, with this potential for all regions or, with ``others``, one for each region."""
        options = self.options(given)
        potentials = [self, *others]
        shares = share_inputs([read_info(each.source).inputs for each in potentials], options.modelInputs)
        for potential, inputs in zip(potentials, shares, strict=True):
            potential.inputs = inputs
        builder |= {key: value for key, value in given.items() if key in _BUILDER_KEYWORDS}
        # The report compares the distance of a region's images with the reach of the model.
        info = self.read_info(options)
        length = options.units_for(info).length
        builder.setdefault("cutoff_nm", None if info.cutoff is None else info.cutoff * length)
        builder["embedsElectrostatics"] = any(read_info(each.source).embeds for each in potentials)
        builder["declareMolecules"] = options.declareMolecules
        mixed = build_mixed_system(
            topology, system, atoms, ModelForces(topology, potentials, options), HybridOptions(**builder)
        )
        logger.info("%s", mixed.report)
        return mixed

    def execution(self, options: Options) -> Execution:
        """How this potential is run: the options, with its own share of the models' inputs in a hybrid System."""
        inputs = share_inputs([()], options.modelInputs)[0] if self.inputs is None else self.inputs
        return dataclasses.replace(options.execution, inputs=inputs)

    def read_info(self, options: Options) -> ModelInfo:
        """Facts about the model, after checking that it can be run in this way; nothing is compiled.

        Raises
        ------
        ModelFileError
            If the file is damaged.
        ModelInputError
            If the model needs an input that is not given, or does not know one that is.
        ValueError, RuntimeError
            For options that the model, its format or this machine rules out.
        """
        execution = self.execution(options)
        check_execution(self.source, execution)
        if execution.device is not None:
            parse_device(execution.device)
        info = read_info(self.source, settings=execution.settings)
        check_precision(options.precision, info.dtype)
        check_inputs(info.inputs, execution.inputs, self.source.path)
        return info

    def spec(
        self, options: Options, placement: Placement, periodic: bool, lambda_name: str | None = None
    ) -> PotentialSpec:
        """The potential on given particles.

        Parameters
        ----------
        options : Options
            How to run it.
        placement : Placement
            Which particles are which nodes.
        periodic : bool
            Whether the force uses the box.
        lambda_name : str, optional
            Global parameter that switches it off.

        Returns
        -------
        PotentialSpec

        Raises
        ------
        CommitteeError
            If a bias is asked for and this is no committee whose mean drives.
        """
        info, execution = self.read_info(options), self.execution(options)
        info.check_periodic(periodic, self.source.path)
        units = options.units_for(info)
        log_units(self.source.path, units, info)
        if options.bias is not None:
            check_biased(self.source)
        spec = PotentialSpec(
            source=self.source,
            units=units,
            placement=placement,
            periodic=periodic,
            skin_nm=skin_in_nm(options.skin),
            execution=execution if execution.device is None else execution.on(parse_device(execution.device)),
            lambda_name=lambda_name,
            bias=options.bias,
        )
        return spec.embed() if options.embedModel or self._bundled else spec


def create_mixed_system(
    topology: openmm.app.Topology,
    system: openmm.System,
    atoms: Any,
    modelPath: Any = None,
    removeConstraints: bool | None = None,
    forceGroup: int = 0,
    interpolate: bool = False,
    **options: Any,
) -> MixedSystem:
    """Describe some atoms of a force-field System by a model, and report what was changed.

    Parameters
    ----------
    topology : openmm.app.Topology
        Topology of the System.
    system : openmm.System
        The System of the force field; not changed.
    atoms : iterable of int, str, or list of these
        The region: atom indices or mdtraj selection text; a list of them for several regions.
    modelPath : str, path-like or list of these
        The model, or one for each region; a list in the list is a committee, of TorchMD-Net checkpoints an ensemble.
        With ``committee=``, which is for all regions, it is the first of its models, and may be left out.
    removeConstraints : bool, optional
        Whether constraints inside the regions are removed; by default as the rule has it: ``"gromacs"`` keeps them, the
        others remove them.
    forceGroup : int
        Force group of the model's force.
    interpolate : bool
        Whether the global parameter ``lambda_interpolate`` leads from the force field (0) to the hybrid System (1).
    options
        Fields of :class:`openmm_nequip.options.Options` and of :class:`openmm_nequip.hybrid.HybridOptions`.

    Returns
    -------
    MixedSystem
        ``system``, ``topology``, ``regions``, ``report``.

    Raises
    ------
    TypeError, ValueError, RuntimeError
        As :func:`openmm_nequip.hybrid.build_mixed_system`, and for bad options.
    ModelFileError
        If a model file cannot be used.
    """
    paths = list(modelPath) if isinstance(modelPath, (list, tuple)) else [modelPath]
    if not paths or (modelPath is None and options.get("committee") is None):
        given = "missing" if paths else "an empty list"
        raise TypeError(f"modelPath is {given}; give a model, or one for each region, or committee=")
    if len(paths) > 1 and options.get("committee") is not None:
        raise TypeError(
            "committee= is one for all regions, and modelPath names a model for each; give a list of its models for a "
            "region that has a committee: modelPath=[[...], ...]"
        )
    check_keywords(options, [*Options.names(), *_BUILDER_KEYWORDS], "create_mixed_system")
    own = {name: options[name] for name in ("trusted", *_SOURCE_OPTIONS) if name in options}
    first, *others = [NequIPPotentialImpl(POTENTIAL_NAME, path, **own) for path in paths]
    return first.mix(
        topology, system, atoms, options, others, removeConstraints=removeConstraints, forceGroup=forceGroup,
        interpolate=interpolate,
    )  # fmt: skip
