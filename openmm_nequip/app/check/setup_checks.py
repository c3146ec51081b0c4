"""Whether the run can be set up at all, and what is said while it is: structure, box, periodicity."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from ...errors import StructureError
from ...units import NM_PER_ANGSTROM, NM_PER_BOHR
from ..run.md_system import Setup, make_setup
from ..run.run_config import RunConfig
from ..run.watch.finding import CERTAINTY
from ..run.watch.structure_checks import Atoms, BondCheck, ContactCheck
from ..structures.structure_files import read_structure
from .checked_system import CheckedSystem
from .verdict import LOOK, OK, STOP, CheckVerdict

#: Atoms that fill a rectangular block to its corners are a piece of a liquid or crystal, not a molecule; and so are
#: so many molecules, or atoms that are none.
_FEWEST_IN_BULK, _FEWEST_MOLECULES, _FEWEST_ATOMS = 60, 8, 4
#: Liquids and crystals have no gaps of so many nm.
_GAP_NM = 1.0
_CELLS = 4
#: Median distance of a hydrogen from the nearest atom, in sums of covalent radii, in molecules; what it would be with
#: positions in another unit; how near to that is near enough (the logarithm).
_BONDED, _FEWEST_HYDROGENS = (0.7, 1.45), 2
_SCALES = {"bohr": 1 / NM_PER_BOHR * NM_PER_ANGSTROM, "nm": 0.1, "pm": 100.0}
_SURE = 0.25
_LARGEST_SAME_PLACE = 1e-6


def set_up(config: RunConfig) -> tuple[Setup | None, list[CheckVerdict]]:
    """Build the System, as ``run`` does.

    Parameters
    ----------
    config : RunConfig
        Settings.

    Returns
    -------
    setup : Setup or None
        None where it cannot be built.
    verdicts : list of CheckVerdict
        The error, or what was warned of.
    """
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            setup = make_setup(config)
    except (ValueError, RuntimeError, ImportError, OSError) as error:
        return None, [CheckVerdict("set-up", STOP, str(error))]
    words = list(dict.fromkeys(str(each.message) for each in said if _is_ours(each)))
    found = [CheckVerdict("set-up", LOOK, text) for text in words]
    count = setup.system.getNumParticles()
    return setup, found or [CheckVerdict("set-up", OK, f"{count} particles, {setup.molecules.count} molecules")]


def _is_ours(warning: warnings.WarningMessage) -> bool:
    return not issubclass(warning.category, (DeprecationWarning, PendingDeprecationWarning, ResourceWarning))


def check_structure(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Distances of the structure as it is given.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    atoms = Atoms.of(subject.setup.structure.topology)
    place = subject.positions, subject.box
    yield from _scale(subject)
    contact = ContactCheck(atoms, subject.config.reactive, subject.box is not None).look(*place)
    if contact is None:
        yield CheckVerdict("contacts", OK, "no two atoms are closer than such atoms come")
    else:
        level = STOP if contact.level == CERTAINTY else LOOK
        yield CheckVerdict("contacts", level, contact.text, contact.value, contact.limit)
    bond = None if subject.config.reactive else BondCheck(atoms, *place).look(*place)
    if bond is None:
        yield CheckVerdict("bonds", OK, f"{len(atoms.bonds())} bonds, none overstretched")
    else:
        yield CheckVerdict("bonds", STOP if bond.level == CERTAINTY else LOOK, bond.text, bond.value, bond.limit)


def _scale(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Hydrogens that are at no bonding distance from anything: positions in another unit."""
    from ase.data import atomic_numbers, covalent_radii
    from scipy.spatial import KDTree

    symbols = subject.setup.structure.symbols
    known = [k for k, symbol in enumerate(symbols) if symbol]
    if len(known) < 2:
        return
    near, who = KDTree(subject.positions[known]).query(subject.positions[known], k=2)
    parts = [
        length / (covalent_radii[1] + covalent_radii[atomic_numbers[symbols[known[other]]]]) / NM_PER_ANGSTROM
        for k, length, other in zip(known, near[:, 1], who[:, 1], strict=True) if symbols[k] == "H"
    ]  # fmt: skip
    part = float(np.median(parts)) if len(parts) >= _FEWEST_HYDROGENS else 1.0
    least, most = _BONDED
    if least <= part <= most:
        return
    name = min(_SCALES, key=lambda unit: abs(np.log(part / _SCALES[unit])))
    guess = f"; numbers in {name} taken for Å would look so" if abs(np.log(part / _SCALES[name])) < _SURE else ""
    yield CheckVerdict(
        "positions",
        STOP,
        f"hydrogens are {part:.2g} times as far from the nearest atom as a bond is long{guess}: give positions in Å "
        "(in a .gro file: nm)",
        part,
        most,
    )


def check_box(subject: CheckedSystem) -> Iterator[CheckVerdict]:
    """Form and size of the box against the model's cutoff, and a box that should be there.

    Parameters
    ----------
    subject : CheckedSystem
        What is checked.

    Yields
    ------
    CheckVerdict
    """
    config, cutoff = subject.config, subject.cutoff_nm
    if subject.box is None:
        yield _periodicity(subject)
        return
    try:
        given = read_structure(config.structure or "", config.box, config.frame, slabs=True).box_nm
    except (StructureError, ValueError):
        given = None
    if given is not None and config.solvate is None and not np.allclose(given, subject.box, atol=1e-5):
        yield CheckVerdict(
            "box",
            LOOK,
            f"the box {_text(given)} nm is not in OpenMM's reduced form; the run rotates and reduces it to "
            f"{_text(subject.box)} nm, and coordinates turn with it: compare energies, not coordinates",
        )
    heights = 1.0 / np.linalg.norm(np.linalg.inv(subject.box), axis=0)
    gaps = _gaps(subject.positions, subject.box) * heights
    if subject.setup.molecules.count >= _FEWEST_MOLECULES and gaps.min() > _GAP_NM:
        yield CheckVerdict(
            "density",
            LOOK,
            f"{subject.setup.molecules.count} molecules with {10 * gaps.min():.1f} Å of empty space around them in a "
            f"box of {' x '.join(f'{10 * height:.1f}' for height in heights)} Å: a droplet in its vapour. For a liquid "
            "or crystal the box is another (--box is in Å)",
            float(gaps.min()),
            _GAP_NM,
        )
    narrow = float(heights.min())
    if cutoff is not None and not subject.hybrid and narrow < 2 * cutoff:
        many = "several images of a neighbour" if narrow < cutoff else "some neighbours twice, by their images"
        yield CheckVerdict(
            "box and cutoff",
            LOOK,
            f"the box is {narrow:.3f} nm wide and the cutoff {cutoff:.3f} nm: an atom sees {many}. The energy is that "
            "of the infinite crystal of this box, and correlations end at its walls; at least "
            f"{2 * cutoff:.3f} nm for a liquid",
            narrow,
            2 * cutoff,
        )
    else:
        yield CheckVerdict("box and cutoff", OK, f"narrowest width {narrow:.3f} nm", narrow, None)


def _gaps(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The widest empty slab along each box vector, as a part of it, (3,) float64."""
    places = np.sort((positions @ np.linalg.inv(box)) % 1.0, axis=0)
    between = np.diff(np.vstack([places, places[:1] + 1.0]), axis=0)
    return np.asarray(between.max(axis=0))


def _text(box: np.ndarray) -> str:
    return str((np.round(box, 4) + 0.0).tolist())


def _periodicity(subject: CheckedSystem) -> CheckVerdict:
    """Atoms that fill a block to its corners, or many molecules, without a box."""
    points = subject.positions[subject.masses > 0]
    span = np.ptp(points, axis=0) if len(points) else np.zeros(3)
    if len(points) >= _FEWEST_IN_BULK and span.min() > _LARGEST_SAME_PLACE:
        cells = np.minimum((points - points.min(axis=0)) / span * _CELLS, _CELLS - 1).astype(int)
        corners = {tuple(cell) for cell in cells if all(part in (0, _CELLS - 1) for part in cell)}
        if len(corners) == 8:
            edges = " x ".join(f"{10 * length:.1f}" for length in span)
            return CheckVerdict(
                "periodicity",
                LOOK,
                f"the atoms fill a block of {edges} Å to its corners, and there is no box: the run is a cluster in "
                "vacuum. For a liquid or crystal give --box (Å), a little larger than the block",
            )
    molecules = subject.setup.molecules
    alone = int((np.bincount(molecules.labels) == 1).sum())
    if molecules.count >= _FEWEST_MOLECULES or alone >= _FEWEST_ATOMS:
        what = f"{molecules.count} molecules" if alone < molecules.count else f"{alone} atoms"
        return CheckVerdict(
            "periodicity",
            LOOK,
            f"{what} and no box: a cluster in vacuum that evaporates. For a liquid or crystal give --box (Å)",
        )
    return CheckVerdict("periodicity", OK, "not periodic: atoms in open space")
