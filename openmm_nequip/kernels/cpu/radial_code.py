"""Radial functions: constants of the basis and of the pair term; tables or matrices of radial networks of layers."""

from __future__ import annotations

import numpy as np

from ..allegro_program import Splines
from ..program import Bessel, Layer, Repulsion
from ..tables import Table
from .layer_code import ACTIVATION_KINDS
from .packing import Blob, LayerRows, in_panels, pad_matrix, padded, radial_matrices
from .table_slabs import pack_slabs

#: Coefficients of a quintic table.
COEFFICIENTS = 6
#: Powers of x that radial_basis.hpp makes by multiplication.
_MOST_WHOLE_POWER = 16


def basis_constants(basis: Bessel | Splines, lanes: int) -> tuple[dict[str, object], list[str]]:
    """What radial_basis.hpp is written in terms of.

    Parameters
    ----------
    basis : Bessel or Splines
        The basis.
    lanes : int
        The basis is padded to a multiple of it.

    Returns
    -------
    macros : dict of str to object
        For the preprocessor.
    lines : list of str
        C++ constants.
    """
    bessel = 0 if isinstance(basis, Splines) else basis.roots.shape[-1]
    lines = [
        f"constexpr int N_BASIS = {basis.size}, BASIS_WIDTH = {padded(basis.size, lanes)};",
        f"[[maybe_unused]] constexpr int N_BESSEL = {bessel};",
    ]
    if isinstance(basis, Splines):
        lower = ", ".join(repr(float(value)) for value in basis.lower)
        lines += [f"constexpr double SPLINE_LOWER[] = {{{lower}}}, SPLINE_WIDTH = {basis.width!r};"]
        return {"SPLINES": 1, "PLAIN_ROOTS": 0, "ROOTS_OF_PAIRS": 0, "CONSTANTS": 0}, lines
    power = basis.power - 1
    whole = int(power) if power == int(power) and 0 < power <= _MOST_WHOLE_POWER else 0
    plain = bool(np.array_equal(basis.roots, np.arange(1, bessel + 1)))
    lines += [
        f"constexpr int WHOLE_POWER = {whole};",
        f"constexpr double CUTOFF_POWER = {basis.power!r}, BASIS_FACTOR = {basis.factor!r};",
        f"[[maybe_unused]] constexpr bool BASIS_ENDS = {int(basis.ends)};",
        f"constexpr double BASIS_ROOTS[] = {{{', '.join(repr(float(root)) for root in basis.roots.ravel())}}};",
    ]
    own = int(basis.of_pairs)
    return {"SPLINES": 0, "PLAIN_ROOTS": int(plain), "ROOTS_OF_PAIRS": own, "CONSTANTS": int(basis.constants)}, lines


def repulsion_lines(repulsion: Repulsion | None) -> list[str]:
    """C++ constants of the pair term, if there is one."""
    if repulsion is None:
        return []
    return [f"constexpr double REPULSION_FACTOR = {repulsion.factor!r}, REPULSION_POWER = {repulsion.power!r};"]


def table_code(number: int, layer: Layer, rows: LayerRows, table: Table, blob: Blob) -> str:
    """Put a table among the weights.

    Parameters
    ----------
    number : int
        Number of the layer.
    layer : Layer
        Has the paths.
    rows : LayerRows
        Where their weights stand.
    table : Table
        The table.
    blob : Blob
        All weights; is added to.

    Returns
    -------
    str
        The constant ``TABLE_<number>``, its place.
    """
    return f"constexpr long TABLE_{number} = {blob.add(pack_slabs(layer, rows, table, blob.lanes))};"


def network_code(number: int, layer: Layer, rows: LayerRows, n_basis: int, blob: Blob) -> str:
    """Put the matrices of a radial network among the weights.

    Parameters
    ----------
    number, layer, rows, blob
        As of :func:`table_code`.
    n_basis : int
        Functions of the radial basis.

    Returns
    -------
    str
        The struct ``Radial<number>`` that ``radial_network`` of radial_weights.hpp is called with.
    """
    matrices = radial_matrices(layer, rows)
    widths = [
        padded(n_basis, blob.lanes),
        *(padded(matrix.shape[1], blob.lanes) for matrix in matrices[:-1]),
        rows.weights,
    ]
    offsets = [
        blob.add(in_panels(pad_matrix(matrix, list(range(matrix.shape[0])), n_in, n_out), blob.lanes))
        for matrix, n_in, n_out in zip(matrices, widths, widths[1:], strict=False)
    ]
    hidden = max([*widths[1:-1], blob.lanes])
    kind = ACTIVATION_KINDS.index(layer.radial.activation)
    return (
        f"struct Radial{number} {{\n"
        f"  static constexpr int LAYERS = {len(matrices)}, WIDEST = {hidden}, ACTIVATION = {kind};\n"
        f"  static constexpr int WIDTHS[] = {{{', '.join(map(str, widths))}}};\n"
        f"  static constexpr long MATRICES[] = {{{', '.join(map(str, offsets))}}};\n"
        "};"
    )
