"""Networks of bonds without end, told from molecules without looking at positions."""

from __future__ import annotations

from collections.abc import Sequence

Pair = tuple[int, int]

#: Share of a piece's inner atoms (those with two bonds or more) that lie in one block of rings.
_LARGEST_BLOCK = 0.5
#: Independent rings for each atom of the block: 1 in diamond, 0.3 in a zeolite, 0.1 and more in metal-organic
#: frameworks, 0.5 in a fullerene; hundredths in a protein with disulfide bridges.
_RINGS_PER_ATOM = 0.08
#: Atoms of the block in a cubic nm of the box: 176 in diamond, 54 in a zeolite, 19 in MOF-5; 11 in the crystal of C60.
_ATOMS_PER_NM3 = 12.0
#: Smaller pieces are molecules.
_SMALLEST = 24


def endless_bonds(count: int, pairs: Sequence[Pair], volume_nm3: float) -> list[Pair]:
    """Find bonds of frameworks that fill a periodic box, which therefore go on across its faces.

    A piece of bonded atoms counts as a framework if most of its inner atoms lie in one block in which every bond is in
    a ring, this block has many rings, and it is as dense in the box as a solid.  With positions this can be told
    exactly (:func:`openmm_nequip.app.structures.bonds.find_molecules`); a topology has none.

    Parameters
    ----------
    count : int
        Number of atoms.
    pairs : sequence of (int, int)
        The bonds.
    volume_nm3 : float
        Volume of the box.

    Returns
    -------
    list of (int, int)
        The bonds of such pieces, as given.
    """
    near: list[set[int]] = [set() for _ in range(count)]
    for i, j in pairs:
        near[i].add(j)
        near[j].add(i)
    block = _ring_blocks(near)
    endless: set[int] = set()
    seen = [False] * count
    for start in range(count):
        if seen[start] or not near[start]:
            continue
        seen[start] = True
        piece = [start]
        for i in piece:
            for j in near[i]:
                if not seen[j]:
                    seen[j] = True
                    piece.append(j)
        if len(piece) >= _SMALLEST and _is_framework(piece, near, block, volume_nm3):
            endless.update(piece)
    return [pair for pair in pairs if pair[0] in endless]


def _is_framework(piece: list[int], near: list[set[int]], block: list[int], volume_nm3: float) -> bool:
    inner = [i for i in piece if len(near[i]) > 1]
    sizes: dict[int, list[int]] = {}
    for i in inner:
        sizes.setdefault(block[i], []).append(i)
    largest = max(sizes.values(), key=len)
    if len(largest) < _LARGEST_BLOCK * len(inner) or len(largest) < _ATOMS_PER_NM3 * volume_nm3:
        return False
    label = block[largest[0]]
    bonds = sum(block[j] == label for i in largest for j in near[i]) // 2
    return bonds - len(largest) + 1 >= _RINGS_PER_ATOM * len(largest)


def _ring_blocks(near: list[set[int]]) -> list[int]:
    """Label atoms so that two share a label if bonds join them of which none is a bridge (Tarjan, iteratively)."""
    count = len(near)
    order, low, label = [-1] * count, [0] * count, [-1] * count
    clock = 0
    for root in range(count):
        if order[root] >= 0:
            continue
        path, waiting = [(root, -1, iter(near[root]))], [root]
        order[root] = low[root] = clock
        clock += 1
        while path:
            i, parent, rest = path[-1]
            for j in rest:
                if order[j] < 0:
                    order[j] = low[j] = clock
                    clock += 1
                    path.append((j, i, iter(near[j])))
                    waiting.append(j)
                    break
                if j != parent:
                    low[i] = min(low[i], order[j])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[i])
                if low[i] == order[i]:
                    while True:
                        j = waiting.pop()
                        label[j] = i
                        if j == i:
                            break
    return label
