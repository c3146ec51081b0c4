"""Where a Context runs: its platform and device."""

from __future__ import annotations

from typing import NamedTuple

import openmm

from ...errors import KernelsError
from ..spec import PotentialSpec, SumSpec

#: Properties with which a Context of ours runs at the same place.
_GIVEN = ("Precision", "DeviceIndex", "OpenCLPlatformIndex")


class GpuPlace(NamedTuple):
    """A platform of GPUs with the properties of a Context."""

    platform: str  #: OpenMM's name of it
    properties: dict[str, str]  #: ``Precision``, ``DeviceIndex``, ``DeviceName``, ``OpenCLPlatformIndex``, where known

    @classmethod
    def of(cls, text: str) -> GpuPlace:
        """What ``gpu_force.cpp`` says: lines ``name=value``, the platform first."""
        pairs = dict(line.split("=", 1) for line in text.splitlines())
        return cls(pairs.pop("Platform"), pairs)

    @classmethod
    def default(cls, name: str) -> GpuPlace:
        """Where a Context runs that names a platform and nothing else."""
        platform = openmm.Platform.getPlatformByName(name)
        known = [each for each in platform.getPropertyNames() if each == "Precision"]
        return cls(name, {each: platform.getPropertyDefaultValue(each) for each in known})

    @property
    def precision(self) -> str:
        """OpenMM's ``single``, ``mixed`` or ``double``."""
        return self.properties.get("Precision", "single")

    def check_device(self, spec: PotentialSpec | SumSpec) -> None:
        """Refuse a Context on another device than ``device="cuda:N"`` names.

        Raises
        ------
        KernelsError
            If it is another.
        """
        for part in spec.parts:
            name, _, number = (part.execution.device or "").partition(":")
            found = self.properties.get("DeviceIndex", "")
            if name and number and found != number:
                raise KernelsError(
                    f"device={part.execution.device!r} was given, and the Context runs on device {found or 'unknown'} "
                    f"of the platform {self.platform}, where our force runs with it; give the Context the property "
                    f"DeviceIndex {number!r}, or leave device out"
                )

    def open(self, system: openmm.System) -> openmm.Context:
        """A Context at this place."""
        given = {name: value for name, value in self.properties.items() if name in _GIVEN and value}
        platform = openmm.Platform.getPlatformByName(self.platform)
        return openmm.Context(system, openmm.VerletIntegrator(0.001), platform, given)
