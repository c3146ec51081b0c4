"""What a build did: an object to ask and a text to read."""

from dataclasses import dataclass, field

from ..shown import as_ranges, counted, few, html_facts, html_table, one_line
from .charges import ChargeChange
from .constraints import Constraints
from .regions import Region


@dataclass
class ForceReport:
    """What happened to one force of the original System.

    Attributes
    ----------
    index : int
        Its index in the original System.
    name, kind : str
        Its name and its class.
    action : str
        What was done, in words.
    removed : list of tuple of int
        Particles of every removed term; several terms on the same atoms (a torsion's multiplicities) count each.
    kept : int
        How many terms stay.
    restraints : list of tuple of int
        Particles of the terms that touch a region and stay because they are restraints.
    doubtful : list of tuple of int
        Particles of the terms, removed or kept as restraints, that may be the one or the other; a note names them.
    pairs : int
        Non-bonded forces: non-zero (1-4) exceptions that became zero, or exclusions added to a custom force.
    pairsAre : str
        Which of them.
    removedDistinct : int
        Number of removed terms, those on the same atoms (read in either direction) counted once.
    """

    index: int
    name: str
    kind: str
    action: str
    removed: list[tuple[int, ...]] = field(default_factory=list)
    kept: int = 0
    restraints: list[tuple[int, ...]] = field(default_factory=list)
    doubtful: list[tuple[int, ...]] = field(default_factory=list)
    pairs: int = 0
    pairsAre: str = ""

    def _count_distinct(self) -> int:
        return len({min(atoms, atoms[::-1]) for atoms in self.removed})

    removedDistinct = property(_count_distinct)


@dataclass
class RegionReport:
    """What is known of one region.

    Attributes
    ----------
    region : Region
        Atoms, links and sites.
    charge : float or None
        Sum of the force field's charges in e, None without charges.
    nearestImage_nm : float or None
        Shortest distance to a periodic image of the region, None without positions or periodicity.
    """

    region: Region
    charge: float | None = None
    nearestImage_nm: float | None = None


@dataclass
class MixedReport:
    """Everything that a build removed, kept and found; ``str(report)`` is the text for a log.

    Attributes
    ----------
    rule : str
        The rule for bonded terms.
    regions : list of RegionReport
        One for each region.
    forces : list of ForceReport
        One for each force of the original System.
    constraints : Constraints
        Constraints removed and left.
    linkCharge : str
        The scheme for charges behind cut bonds.
    chargeChanges : list of ChargeChange
        Charges that the scheme changed.
    totalCharge : tuple of float or None
        Sum of all charges before and after, in e.
    interpolate : bool
        Whether the System has the parameter of `lambdaName`.
    lambdaName : str
        Its name.
    restoredTerms : int
        Bond and angle terms put in for removed constraints on the force-field side.
    molecules : int
        Zero-strength bonds that keep molecules whole.
    cutoff_nm : float or None
        The model's cutoff, if told.
    notes : list of str
        Things to know; those that may spoil a simulation were also issued as warnings.
    """

    rule: str
    regions: list[RegionReport] = field(default_factory=list)
    forces: list[ForceReport] = field(default_factory=list)
    constraints: Constraints = field(default_factory=Constraints)
    linkCharge: str = "keep"
    chargeChanges: list[ChargeChange] = field(default_factory=list)
    totalCharge: tuple[float, float] | None = None
    interpolate: bool = False
    lambdaName: str = ""
    restoredTerms: int = 0
    molecules: int = 0
    cutoff_nm: float | None = None
    notes: list[str] = field(default_factory=list)

    def removed(self, *kinds: str, distinct: bool = True) -> int:
        """Count removed terms.

        Parameters
        ----------
        *kinds : str
            Names of force classes; all if none is given.
        distinct : bool
            Count terms on the same atoms once within each force.

        Returns
        -------
        int
        """
        wanted = [entry for entry in self.forces if not kinds or entry.kind in kinds]
        return sum(entry.removedDistinct if distinct else len(entry.removed) for entry in wanted)

    @property
    def restraints(self) -> list[tuple[str, tuple[int, ...]]]:
        """Name of the force and particles of every restraint on a region that was kept."""
        return [(entry.name, atoms) for entry in self.forces for atoms in entry.restraints]

    def __repr__(self) -> str:
        atoms = sum(len(entry.region.atoms) for entry in self.regions)
        cuts = sum(len(entry.region.cuts) for entry in self.regions)
        facts = (
            f"rule {self.rule!r}", f"{counted(len(self.regions), 'region')} of {counted(atoms, 'atom')}",
            counted(cuts, "cut bond"), f"{counted(self.removed(), 'term')} removed",
            counted(len(self.notes), "note") if self.notes else "",
        )  # fmt: skip
        return one_line("MixedReport", facts)

    def _repr_html_(self) -> str:
        """Tables for notebooks."""
        regions = html_table(
            f"Hybrid System, bonded terms by the rule {self.rule}",
            ("region", "atoms", "cut bonds", "charge, e", "nearest image, nm"),
            [
                (number, f"{len(entry.region.atoms)}: {few(as_ranges(entry.region.atoms))}", len(entry.region.cuts),
                 _number(entry.charge, "+.4f"), _number(entry.nearestImage_nm, ".3f"))
                for number, entry in enumerate(self.regions)
            ],
        )  # fmt: skip
        forces = html_table(
            "Forces of the force field",
            ("", "force", "what was done", "terms removed", "kept", "restraints", "pairs"),
            [
                (entry.index, entry.name, entry.action, len(entry.removed), entry.kept, len(entry.restraints),
                 entry.pairs)
                for entry in self.forces
            ],
        )  # fmt: skip
        facts = {
            "constraints": f"{len(self.constraints.removed)} removed, {len(self.constraints.inside)} left inside",
            "charges": " ".join(self._charge_lines()),
            "kept whole": f"{self.molecules} bonds of zero strength" if self.molecules else "",
            "interpolated by": self.lambdaName if self.interpolate else "",
        }
        notes = html_table("Notes", (), [(note,) for note in self.notes])
        return f"{regions}{forces}{html_facts('', facts.items())}{notes}"

    def __str__(self) -> str:
        lines = [f"Hybrid System, bonded terms by the rule {self.rule!r}"]
        for number, entry in enumerate(self.regions):
            lines += _region_lines(number, entry, self.cutoff_nm)
        lines += [_force_line(entry) for entry in self.forces]
        lines += _constraint_lines(self.constraints)
        lines += self._charge_lines()
        if self.molecules:
            lines.append(f"{self.molecules} bonds of zero strength keep molecules whole")
        if self.interpolate:
            lines.append(
                f"Interpolated by {self.lambdaName}: 1 is the model, 0 the force field; {self.restoredTerms} terms "
                "restored for removed constraints"
            )
        return "\n".join(lines + [f"Note: {note}" for note in self.notes])

    def _charge_lines(self) -> list[str]:
        if not self.chargeChanges or self.totalCharge is None:
            return []
        moved = ", ".join(f"{c.particle}: {c.before:+.4f} to {c.after:+.4f}" for c in self.chargeChanges)
        before, after = self.totalCharge
        return [f"Charges behind cut bonds ({self.linkCharge}): {moved}; total {before:+.4f} to {after:+.4f} e"]


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else format(value, form)


def _region_lines(number: int, entry: RegionReport, cutoff_nm: float | None) -> list[str]:
    region = entry.region
    head = f"Region {number}: {len(region.atoms)} atoms"
    if region.sites:
        head += f", {len(region.sites)} virtual sites"
    head += f", {len(region.cuts)} cut bonds"
    if entry.charge is not None:
        head += f", charge {entry.charge:+.4f} e"
    if entry.nearestImage_nm is not None:
        head += f", nearest periodic image {entry.nearestImage_nm:.3f} nm"
        if cutoff_nm is not None:
            head += f" (model cutoff {cutoff_nm:.3f} nm)"
    return [head] + [
        f"  bond {link.q}-{link.m} cut: {link.element} at {link.distance_nm:.4f} nm from {link.q}"
        for link in region.links
    ] + [f"  bond {q}-{m} cut and not capped" for q, m in region.open]


def _force_line(entry: ForceReport) -> str:
    line = f"Force {entry.index} {entry.name}: {entry.action}"
    if entry.removed:
        line += f"; {len(entry.removed)} terms ({entry.removedDistinct} distinct) removed"
    if entry.removed or entry.kept:
        line += f", {entry.kept} kept"
    if entry.restraints:
        shown = ", ".join("-".join(map(str, atoms)) for atoms in entry.restraints[:5])
        more = "" if len(entry.restraints) <= 5 else ", ..."
        line += f"; {len(entry.restraints)} restraints on the region kept ({shown}{more})"
    if entry.pairs:
        line += f"; {entry.pairs} {entry.pairsAre}"
    return line


def _constraint_lines(found: Constraints) -> list[str]:
    lines = [f"Constraints inside regions: {len(found.removed)} removed, {len(found.inside)} left"]
    if found.settles:
        shown = ", ".join("-".join(map(str, atoms)) for atoms, _ in found.settles[:5])
        shown += ", ..." * (len(found.settles) > 5)
        lines.append(f"Rigid waters taken apart: {len(found.settles)} ({shown})")
    if found.across:
        shown = ", ".join(f"{i}-{j}" for i, j in found.across)
        lines.append(f"Constraints across the border, kept: {shown}")
    return lines
