"""Crystals for OpenMM: ASE's atoms and cells as topology, positions and box, and the way back to the user's frame.

OpenMM takes boxes in one form only: a along x, b in the xy plane, c above it, 2|b_x| <= a_x, 2|c_x| <= a_x and
2|c_y| <= b_y. Any lattice has vectors of this form: whole-number combinations of the given ones, rotated. A
:class:`Crystal` keeps both, so that what OpenMM computes can be given back for the cell that the user knows.
"""

from .crystal_files import fromAse, partial_sites, readCrystal
from .frame import Crystal
from .lattice import check_cell, reduce_box, reduce_cell

__all__ = ["Crystal", "check_cell", "fromAse", "partial_sites", "readCrystal", "reduce_box", "reduce_cell"]
