"""What became of another engine's input: settings of a run, and word for word what was done with each line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import EngineInputError
from ..run.run_config import RunConfig, check_settings, make_config, option_name

#: Folder for files that a translation makes, inside the run folder.
MADE_FOLDER = "translated"
#: What became of an entry, in the order in which it is told, with the heading of its list.
MAPPED, REPLACED, IGNORED = "mapped", "replaced", "ignored"
_HEADINGS = {MAPPED: "mapped", REPLACED: "replaced by a counterpart", IGNORED: "ignored"}


@dataclass(frozen=True)
class Place:
    """Where something stands.

    Parameters
    ----------
    path : str
        The file.
    line : int or None
        Counted from 1; None for what stands nowhere, such as a default.
    """

    path: str
    line: int | None = None

    def __str__(self) -> str:
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Entry:
    """One entry of the input and what became of it.

    Parameters
    ----------
    fate : str
        ``"mapped"``, ``"replaced"`` or ``"ignored"``.
    name : str
        As the engine calls it.
    value : str
        As it is written.
    place : Place
        Where.
    became : str
        What stands for it here; empty for what is ignored.
    why : str
        Why it is replaced or ignored, or how it was mapped.
    """

    fate: str
    name: str
    value: str
    place: Place
    became: str = ""
    why: str = ""

    def __str__(self) -> str:
        words = f"{self.name} {self.value}".rstrip()
        words += f" -> {self.became}" if self.became else ""
        words += f" ({self.why})" if self.why else ""
        return f"{words}  [{self.place}]"

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        known = {"fate": self.fate, "name": self.name, "value": self.value, "became": self.became, "why": self.why}
        return known | {"path": self.place.path, "line": self.place.line}


@dataclass
class Translation:
    """Settings of a run that another engine's input asks for.

    Parameters
    ----------
    engine : str
        Name of the engine.
    source : str
        Its input file.
    settings : dict
        Of :class:`openmm_nequip.app.run.run_config.RunConfig`, by name.
    entries : list of Entry
        What became of each entry of the input.
    warnings : list of str
        What a person should look at.
    made : dict of str to (str, bytes)
        Files that have to be written for the run, by the setting that names them: name of the file and its content.
        They go into the run folder.
    in_its_units : callable, optional
        From summary and settings of a run to rows of what the engine prints, in its units: name, value, unit, text.
    """

    engine: str
    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    made: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    in_its_units: Callable[[dict[str, Any], dict[str, Any]], list[dict[str, Any]]] | None = None

    def note(self, fate: str, name: str, value: str, place: Place, **words: str) -> None:
        """Add an entry; parameters as :class:`Entry`, ``became`` and ``why`` by name."""
        self.entries.append(Entry(fate, name, value, place, **words))

    def set(self, setting: str, value: Any, name: str, written: str, place: Place, **words: str) -> None:
        """Give a setting a value, and note the entry it comes from.

        Parameters
        ----------
        setting : str
            Name of the setting, with ``_``.
        value
            What it becomes.
        name, written, place
            Of the entry, as :class:`Entry`.
        words
            ``why``; and ``fate`` where that is not "mapped".

        Raises
        ------
        EngineInputError
            If no run can have that value.
        """
        self.check(setting, value, f"{name} {written}", place)
        self.settings[setting] = value
        fate = words.pop("fate", MAPPED)
        became = words.pop("became", f"{option_name(setting)} = {_written(value)}")
        self.note(fate, name, written, place, became=became, **words)

    def check(self, setting: str, value: Any, entry: str, place: Place) -> None:
        """Refuse a value that no run can have, where the input states it.

        Parameters
        ----------
        setting, value
            As of :meth:`set`.
        entry : str
            What is written there.
        place : Place
            Where.

        Raises
        ------
        EngineInputError
            With the place and the range.
        """
        try:
            check_settings({setting: value})
        except ValueError as error:
            raise EngineInputError(f"{entry.strip()}: {error}", place.path, place.line) from error

    @property
    def output(self) -> Path:
        """The run folder."""
        return Path(str(self.settings["output"]))

    def override(self, given: Mapping[str, Any]) -> None:
        """Let settings that the user gave beside the input win over it.

        Parameters
        ----------
        given : mapping of str to value
            Settings by name, with ``_`` or ``-``.
        """
        for key, value in given.items():
            name = key.replace("-", "_")
            if name != "output" and (name in self.settings or name in self.made):
                before = self.settings.get(name)
                if before != value:
                    self.note(REPLACED, option_name(name), _written(before), Place(self.source),
                              became=_written(value), why="given beside the input, which it wins over")  # fmt: skip
            self.made.pop(name, None)
            self.settings[name] = value

    def all_settings(self) -> dict[str, Any]:
        """The settings, those of files that are yet to be written included."""
        made = {setting: str(self.output.resolve() / MADE_FOLDER / name) for setting, (name, _) in self.made.items()}
        return self.settings | made

    def config(self) -> RunConfig:
        """The settings, checked.

        Raises
        ------
        ValueError
            As :func:`openmm_nequip.app.run.run_config.make_config`.
        """
        return make_config(self.all_settings())

    def write_made(self) -> None:
        """Write the files that the run needs, and the report beside them, into the run folder.

        Raises
        ------
        OSError
            If they cannot be written.
        """
        folder = self.output / MADE_FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.made.values():
            (folder / name).write_bytes(content)
        (folder / "report.txt").write_text(self.report() + "\n", encoding="utf-8")

    def report(self) -> str:
        """What was mapped, what replaced, and what ignored, with places and reasons."""
        lines = [f"{self.engine} input {self.source}"]
        for fate, heading in _HEADINGS.items():
            found = [str(entry) for entry in self.entries if entry.fate == fate]
            lines += ["", f"{heading} ({len(found)}):", *(f"  {text}" for text in found)]
        for name, content in self.made.values():
            lines += ["", f"written by the run: {MADE_FOLDER}/{name} ({len(content)} bytes), from what the input says"]
        lines += ["", *(f"warning: {words}" for words in self.warnings)] if self.warnings else []
        return "\n".join(lines)

    def to_toml(self) -> str:
        """The same run as a file for ``openmm-nequip run --config``."""
        return f"# from the {self.engine} input {self.source}\n" + self.config().to_toml()

    def to_python(self) -> str:
        """The same run as Python."""
        return python_of(self.config(), f"From the {self.engine} input {self.source}.")

    def as_json(self) -> dict[str, Any]:
        """JSON-ready: settings, entries, warnings, TOML and Python."""
        return {
            "engine": self.engine,
            "source": self.source,
            "settings": {name: _plain(value) for name, value in self.config().as_settings().items()},
            "entries": [entry.as_json() for entry in self.entries],
            "warnings": self.warnings,
            "files": [name for name, _ in self.made.values()],
            "toml": self.to_toml(),
            "python": self.to_python(),
        }


def python_of(config: RunConfig, title: str) -> str:
    """A run as a Python script.

    Parameters
    ----------
    config : RunConfig
        Its settings.
    title : str
        First line of the script's docstring.

    Returns
    -------
    str
        The settings that are not the defaults, an OpenMM Simulation made from them, and the whole run.
    """
    default = RunConfig()
    stated = {name: value for name, value in config.as_settings().items() if value != getattr(default, name)}
    rows = "".join(f"    {name!r}: {_plain(value)!r},\n" for name, value in stated.items())
    return (
        f'"""{title}"""\n\nfrom openmm_nequip.inputs import make_simulation, start_run\n\nsettings = {{\n{rows}}}\n\n'
        "# An OpenMM Simulation, with System, integrator, positions and velocities, to go on with as you like:\n"
        "# simulation = make_simulation(settings)\n\n"
        "# The whole run, with its folder, log, trajectory and checkpoints:\n"
        'if __name__ == "__main__":\n    start_run(settings)\n'
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _written(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, default=str)
