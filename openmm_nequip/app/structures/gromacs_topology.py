"""A GROMACS topology: what OpenMM's reader takes, what it would leave out without a word, and what is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .top_lines import TopLine, TopPreprocessor
from .top_numbers import check_atoms, check_numbers, check_tables

#: Sections of a molecule type: atoms in front of the function type, and the types that OpenMM's reader knows.
_FUNCTIONS: dict[str, tuple[int, tuple[str, ...]]] = {
    "bonds": (2, ("1", "2")),
    "pairs": (2, ("1",)),
    "angles": (3, ("1", "2", "5")),
    "dihedrals": (4, ("1", "2", "3", "4", "5", "9")),
    "constraints": (2, ("1", "2")),
    "settles": (1, ("1",)),
    "cmap": (5, ("1",)),
    "virtual_sites2": (3, ("1",)),
    "virtual_sites3": (4, ("1", "3", "4")),
    "dummies2": (3, ("1",)),
    "dummies3": (4, ("1", "3", "4")),
    "position_restraints": (1, ("1",)),
}
#: Tables of parameters: the same.
_TABLES: dict[str, tuple[int, tuple[str, ...]]] = {
    "bondtypes": (2, ("1", "2")),
    "pairtypes": (2, ("1",)),
    "angletypes": (3, ("1", "2", "5")),
    "cmaptypes": (5, ("1",)),
    "nonbond_params": (2, ("1",)),
}
_PLAIN = ("defaults", "atomtypes")
_OF_MOLECULE = ("atoms", "exclusions")
#: Sections that act on nothing here, with the reason.
_INERT = {
    "constrainttypes": "lengths of constraints are read where the constraints are",
    "implicit_genborn_params": "GROMACS itself has no implicit solvent any more",
    "implicit_surface_params": "GROMACS itself has no implicit solvent any more",
    "distance_restraints": "they act with disre in the .mdp only",
    "orientation_restraints": "they act with orire in the .mdp only",
}
#: Parameters that position restraints have after the function type.
_RESTRAINT_FIELDS = 3


@dataclass
class MoleculeType:
    """A molecule type and the lines of its sections.

    Attributes
    ----------
    name : str
        Its name.
    bonds_excluded : int
        ``nrexcl``: how many bonds apart non-bonded interactions begin.
    header : TopLine
        Where it is defined.
    sections : dict of str to list of TopLine
        Lines by the name of the section.
    """

    name: str
    bonds_excluded: int
    header: TopLine
    sections: dict[str, list[TopLine]] = field(default_factory=dict)

    def rows(self, *names: str) -> list[list[str]]:
        """Fields of the lines of sections."""
        return [line.text.split() for name in names for line in self.sections.get(name, ())]

    @property
    def size(self) -> int:
        """Number of atoms."""
        return len(self.sections.get("atoms", ()))

    def chemical_bonds(self) -> list[tuple[int, int]]:
        """Bonded pairs, counted from 0: bonds, constraints of type 1, and the two bonds of a rigid water."""
        bonds = [(int(row[0]) - 1, int(row[1]) - 1) for row in self.rows("bonds")]
        bonds += [(int(row[0]) - 1, int(row[1]) - 1) for row in self.rows("constraints") if row[2] == "1"]
        for row in self.rows("settles"):
            first = int(row[0]) - 1
            bonds += [(first, first + 1), (first, first + 2)]
        return bonds


@dataclass(frozen=True)
class GromacsTopology:
    """What a ``.top`` says.

    Attributes
    ----------
    path : str
        The file.
    text : str
        The same without directives, and without what OpenMM's reader does not know.
    molecules : list of (MoleculeType, int)
        Molecule types and how many of each follow each other.
    restraints : list of (int, (float, float, float))
        Particles that are held at their reference positions, and the force constants along x, y and z in kJ/mol/nm².
    inert : list of (TopLine, str)
        First lines of sections that act on nothing, and why.
    unused : list of str
        Macros asked for that the topology never mentions.
    """

    path: str
    text: str
    molecules: list[tuple[MoleculeType, int]]
    restraints: list[tuple[int, tuple[float, float, float]]]
    inert: list[tuple[TopLine, str]]
    unused: list[str]


def read_topology(path: str, defines: Mapping[str, str] | None = None, include: Sequence[str] = ()) -> GromacsTopology:
    """Read a ``.top`` and refuse what would be lost.

    Parameters
    ----------
    path : str
        The file.
    defines : mapping of str to str, optional
        Macros, as ``define = -DPOSRES`` has them.
    include : sequence of str
        Folders of included files.

    Returns
    -------
    GromacsTopology

    Raises
    ------
    EngineInputError
        With file and line, for what cannot be read or cannot be done.
    """
    preprocessor = TopPreprocessor(defines or {}, include)
    reading = _Reading(path)
    for line in preprocessor.lines(path):
        reading.take(line)
    return reading.finished([name for name in defines or {} if name not in preprocessor.used])


def macros(words: Iterable[str]) -> dict[str, str]:
    """Macros from ``NAME`` and ``NAME=VALUE``, also with the ``-D`` of a compiler in front."""
    found = {}
    for word in words:
        name, _, value = word.removeprefix("-D").partition("=")
        found[name] = value
    return found


class _Reading:
    """Lines sorted by section and molecule type."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._section, self._section_line = "", TopLine("", path, 1)
        self._tables: list[tuple[str, TopLine]] = []
        self._types: dict[str, MoleculeType] = {}
        self._type: MoleculeType | None = None
        self._molecules: list[tuple[TopLine, str, int]] = []
        self._inert: dict[str, TopLine] = {}

    def take(self, line: TopLine) -> None:
        """Sort in the next line."""
        if line.text.startswith("["):
            if not line.text.endswith("]"):
                raise line.error(f"{line.text!r} begins a section and has no ']'")
            self._section, self._section_line = line.text[1:-1].strip().lower(), line
            self._check_section(line)
        elif not self._section:
            raise line.error(f"{line.text!r} stands before the first section, such as [ defaults ]")
        elif self._section in _INERT:
            self._inert.setdefault(self._section, line)
        elif self._section == "moleculetype":
            self._begin_type(line)
        elif self._section == "molecules":
            self._count_molecules(line)
        elif self._section in _FUNCTIONS or self._section in _OF_MOLECULE:
            if self._type is None:
                raise line.error(f"[ {self._section} ] stands before any [ moleculetype ]")
            self._type.sections.setdefault(self._section, []).append(line)
        elif self._section in _TABLES:
            self._take_table_row(line, *_TABLES[self._section])
        elif self._section == "dihedraltypes":
            # Two types may stand for the two atoms in the middle.
            middle = line.text.split()[2:3]
            self._take_table_row(line, 2 if middle and middle[0].isdigit() else 4, _FUNCTIONS["dihedrals"][1])
        elif self._section in _PLAIN:
            self._tables.append((self._section, line))
        elif self._section != "system":
            # Known to GROMACS, done nowhere here: refused where a molecule of the system has it.
            if self._type is None:
                raise self._refusal(self._section, line)
            self._type.sections.setdefault(self._section, []).append(line)

    def _check_section(self, line: TopLine) -> None:
        known = {"dihedraltypes", *_FUNCTIONS, *_TABLES, *_PLAIN, *_OF_MOLECULE, *_INERT, *_REFUSED}
        known |= {"moleculetype", "molecules", "system"}
        if self._section not in known:
            raise line.error(
                f"the section [ {self._section} ] is unknown to GROMACS' format; check its spelling, or take it out"
            )
        if self._section == "intermolecular_interactions":
            raise self._refusal(self._section, line)
        if self._section in ("system", "molecules"):
            self._type = None

    def _refusal(self, section: str, line: TopLine) -> Exception:
        return line.error(
            f"[ {section} ] {_REFUSED.get(section, 'is not done')}, and OpenMM's reader would leave it out without a "
            "word; take it out of the topology if the simulation may go without"
        )

    def _take_table_row(self, line: TopLine, atoms: int, known: tuple[str, ...]) -> None:
        fields = line.text.split()
        if len(fields) <= atoms:
            raise line.error(f"[ {self._section} ] has {len(fields)} fields here; at least {atoms + 1} are needed")
        # Functions that OpenMM's reader does not know matter where a molecule has one; they are refused there.
        if fields[atoms] in known:
            self._tables.append((self._section, line))

    def _begin_type(self, line: TopLine) -> None:
        fields = line.text.split()
        if len(fields) < 2 or not fields[1].isdigit():
            raise line.error(f"[ moleculetype ] needs a name and nrexcl; here is {line.text!r}")
        if fields[0] in self._types:
            before = self._types[fields[0]].header
            raise line.error(
                f"molecule type {fields[0]!r} is defined a second time, after {before.path}:{before.number}"
            )
        self._type = self._types[fields[0]] = MoleculeType(fields[0], int(fields[1]), line)

    def _count_molecules(self, line: TopLine) -> None:
        fields = line.text.split()
        if len(fields) < 2 or not fields[1].isdigit():
            raise line.error(f"[ molecules ] needs a name and how many; here is {line.text!r}")
        if fields[0] not in self._types:
            raise line.error(
                f"molecule type {fields[0]!r} is not defined; there are {', '.join(self._types) or 'none'}"
            )
        self._molecules.append((line, fields[0], int(fields[1])))

    def finished(self, unused: list[str]) -> GromacsTopology:
        """Everything, after checking what the molecules of the system have."""
        if not self._molecules:
            raise TopLine("", self._path, 1).error("the topology has no [ molecules ]")
        if not any(section == "defaults" for section, _ in self._tables):
            raise TopLine("", self._path, 1).error(
                "the topology has no [ defaults ]; include a force field first, such as "
                "amber99sb-ildn.ff/forcefield.itp"
            )
        here = [name for _, name, count in self._molecules if count]
        types = check_tables(self._tables, {name: atoms for name, (atoms, _) in _TABLES.items()})
        for name in dict.fromkeys(here):
            _check_type(self._types[name], self._refusal)
            check_atoms(self._types[name].sections.get("atoms", ()), types)
        molecules = [(self._types[name], count) for _, name, count in self._molecules]
        inert = [(line, f"[ {section} ]: {_INERT[section]}") for section, line in self._inert.items()]
        text = "\n".join(self._written(dict.fromkeys(here)))
        return GromacsTopology(self._path, text, molecules, _restraints(molecules), inert, unused)

    def _written(self, here: Iterable[str]) -> list[str]:
        lines, section = [], ""
        for name, line in self._tables:
            if name != section:
                section = name
                lines.append(f"[ {name} ]")
            lines.append(line.text)
        for name in here:
            kind = self._types[name]
            lines += ["[ moleculetype ]", f"{name} {kind.bonds_excluded}"]
            for section, rows in kind.sections.items():
                if section not in ("position_restraints",):
                    lines += [f"[ {section} ]", *(row.text for row in rows)]
        lines += ["[ molecules ]", *(f"{name} {count}" for _, name, count in self._molecules if count)]
        return [*lines, ""]


#: Sections of GROMACS' format that nothing here does.
_REFUSED = dict.fromkeys(
    (
        "intermolecular_interactions", "pairs_nb", "polarization", "water_polarization", "thole_polarization",
        "virtual_sites1", "virtual_sites4", "virtual_sitesn", "dummies1", "dummies4", "dummiesn",
        "dihedral_restraints", "angle_restraints", "angle_restraints_z",
    ),
    "is not done here",
)  # fmt: skip


def _check_type(kind: MoleculeType, refusal: object) -> None:
    """Refuse functions that are not known, lines that are too short, and atoms that are not there."""
    for section, lines in kind.sections.items():
        if section in _REFUSED:
            raise refusal(section, lines[0])  # type: ignore[operator]
        if section not in _FUNCTIONS:
            continue
        atoms, known = _FUNCTIONS[section]
        for line in lines:
            fields = line.text.split()
            if len(fields) <= atoms:
                raise line.error(f"[ {section} ] has {len(fields)} fields here; at least {atoms + 1} are needed")
            for name in fields[:atoms]:
                if not name.isdigit() or not 1 <= int(name) <= kind.size:
                    raise line.error(
                        f"[ {section} ] names the atom {name!r}; {kind.name} has the atoms 1 to {kind.size}"
                    )
            if fields[atoms] not in known:
                raise line.error(
                    f"[ {section} ] with function type {fields[atoms]} is not done here; known are "
                    f"{', '.join(known)}"
                )
            check_numbers(section, line, fields[atoms + 1 :] if section != "position_restraints" else ())
            if section == "constraints" and len(fields) < 4:
                raise line.error("[ constraints ] without a length; put it here instead of into [ constrainttypes ]")


def _restraints(
    molecules: Sequence[tuple[MoleculeType, int]],
) -> list[tuple[int, tuple[float, float, float]]]:
    found: list[tuple[int, tuple[float, float, float]]] = []
    first = 0
    for kind, count in molecules:
        own = []
        for line in kind.sections.get("position_restraints", ()):
            fields = line.text.split()
            if len(fields) < 2 + _RESTRAINT_FIELDS:
                raise line.error("[ position_restraints ] needs an atom, a function type and three force constants")
            try:
                x, y, z = (float(word) for word in fields[2 : 2 + _RESTRAINT_FIELDS])
            except ValueError:
                raise line.error(
                    f"[ position_restraints ] has {' '.join(fields[2:])!r} in place of three force constants in "
                    "kJ/mol/nm^2; if this is a macro, define it"
                ) from None
            own.append((int(fields[0]) - 1, (x, y, z)))
        for copy in range(count):
            found += [(first + copy * kind.size + atom, constants) for atom, constants in own]
        first += count * kind.size
    return found
