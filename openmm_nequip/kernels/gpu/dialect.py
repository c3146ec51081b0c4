"""Text in OpenMM's common dialect: numbers, polynomials, and the spherical harmonics as macros.

The dialect is C with macros that OpenMM defines for each of its platforms (``KERNEL``, ``DEVICE``, ``GLOBAL``,
``LOCAL``, ``LOCAL_ARG``, ``RESTRICT``, ``LOCAL_ID``, ``LOCAL_SIZE``, ``GLOBAL_ID``, ``GLOBAL_SIZE``, ``GROUP_ID``,
``NUM_GROUPS``, ``SYNC_THREADS``, ``ATOMIC_ADD``) and types (``real``, ``real4``, ``mixed``, ``mm_long``,
``mm_ulong``). Of mathematical functions only those are used that all platforms overload for float and double."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..harmonics import monomials

#: Threads of a warp, and channels of a vector: one lane a channel.
LANES = 32
#: Rows of a matrix that a loop takes at a time: so many reads are under way together. Left alone, compilers unroll such
#: a loop to its end and keep what is read in registers, which is what the kernels would need most of.
_ROWS = 4


class Numbers:
    """Writes numbers as literals of the model's type.

    Parameters
    ----------
    dtype : str
        ``"float32"`` or ``"float64"``: in OpenCL a literal without suffix is a double, and makes what it meets one.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self._suffix = "f" if dtype == "float32" else ""

    def literal(self, value: float) -> str:
        """A number with all its digits."""
        return f"{float(value)!r}{self._suffix}"

    def monomial(self, powers: tuple[int, ...]) -> str:
        """A product of powers of x, y and z."""
        return "*".join(axis for axis, power in zip("xyz", powers, strict=True) for _ in range(power))

    def polynomial(self, terms: Sequence[tuple[float, tuple[int, ...]]]) -> str:
        """A sum of monomials with coefficients; empty without any."""
        parts = []
        for coefficient, powers in terms:
            if coefficient != 0.0:
                factor = self.monomial(powers)
                parts.append(self.literal(coefficient) + (f"*{factor}" if factor else ""))
        return " + ".join(parts)


def harmonics_macros(harmonics: list[np.ndarray], numbers: Numbers) -> list[str]:
    """Spherical harmonics of a unit vector, and the way back for gradients.

    Parameters
    ----------
    harmonics : list of numpy.ndarray, (2l+1, n_monomials)
        Polynomials of the unit vector, for l = 0, 1, ...
    numbers : Numbers
        How numbers are written.

    Returns
    -------
    list of str
        ``HARMONICS(x, y, z)`` declares ``Y1``, ``Y2``, ...; ``HARMONICS_BACKWARD(x, y, z, G, hx, hy, hz)`` adds to h
        the gradient of the vector, ``G(b)`` being that of harmonic b. The constant harmonic is left out.
    """
    forward, backward = ["#define HARMONICS(x, y, z)"], ["#define HARMONICS_BACKWARD(x, y, z, G, hx, hy, hz)"]
    number = 1
    for order, table in list(enumerate(harmonics))[1:]:
        for row in table:
            terms = [(float(c), powers) for c, powers in zip(row, monomials(order), strict=True)]
            forward.append(f"  const number Y{number} = {numbers.polynomial(terms) or '0'};")
            for axis, name in enumerate(("hx", "hy", "hz")):
                slope = [
                    (c * powers[axis], tuple(p - (a == axis) for a, p in enumerate(powers)))
                    for c, powers in terms
                    if powers[axis]
                ]
                if text := numbers.polynomial(slope):
                    backward.append(f"  {name} += G({number})*({text});")
            number += 1
    return [" \\\n".join(forward), " \\\n".join(backward)]


def sum_loop(rows: int, step: Callable[[str], list[str]], indent: str, most: int = _ROWS) -> list[str]:
    """A loop over the rows of a matrix, a few at a time, as far as their number allows.

    Parameters
    ----------
    rows : int
        How many.
    step : callable
        From a row's number to what is done there.
    indent : str
        Before each line.
    most : int
        Not more rows at a time.

    Returns
    -------
    list of str
    """
    at_once = next(k for k in range(most, 0, -1) if rows % k == 0)
    inside = [f"  {line}" for k in range(at_once) for line in step(f"(q + {k})" if k else "q")]
    head = ["#pragma unroll 1", f"for (int q = 0; q < {rows}; q += {at_once}) {{"]
    return [indent + line for line in [*head, *inside, "}"]]
