"""Old address of :class:`openmm_nequip.evaluate.placement.Placement`, which stands in XML files of release 0.1."""

from .evaluate.placement import Placement as Layout

__all__ = ["Layout"]
