"""Options of a GROMACS ``.mdp`` turned into settings of a run one by one, each with what became of it."""

from __future__ import annotations

from typing import Any

from ..run.run_config import option_name
from .mdp_file import MdpFile, plain
from .translation import IGNORED, MAPPED, REPLACED, Place, Translation


class MdpTranslation:
    """An ``.mdp`` file and the settings that it leads to.

    Parameters
    ----------
    mdp : MdpFile
        The file.
    translation : Translation
        Gets settings and entries.
    """

    def __init__(self, mdp: MdpFile, translation: Translation) -> None:
        self.mdp = mdp
        self.result = translation
        self._seen: set[str] = set()

    def set(
        self, setting: str, value: Any, name: str, why: str = "", replaced: bool = False, default: str = ""
    ) -> None:
        """Give a setting the value that an option asks for.

        Parameters
        ----------
        setting : str
            The setting; empty where what is said is already so without one.
        value
            Its value, or words for what stands for the option.
        name : str
            The option.
        why : str
            What a reader should know of it.
        replaced : bool
            Whether the setting is a counterpart only.
        default : str
            GROMACS' value where the file has none; entries of such are made where it is replaced or not ours.
        """
        self._seen.add(plain(name))
        written = self._written(name, default)
        if setting:
            self.result.check(setting, value, f"{self._name(name)} = {written}", self.place(name))
            self.result.settings[setting] = value
        if not written:
            return
        shown = str(value).lower() if isinstance(value, bool) else value
        became = f"{option_name(setting)} = {shown}" if setting else str(value)
        fate = REPLACED if replaced else MAPPED
        self.result.note(fate, self._name(name), written, self.place(name), became=became, why=why)

    def ignore(self, name: str, why: str, default: str = "") -> None:
        """List an option as ignored, if it is there or has a default worth a word; parameters as :meth:`set`."""
        self._seen.add(plain(name))
        written = self._written(name, default)
        if written:
            self.result.note(IGNORED, self._name(name), written, self.place(name), why=why)

    def done(self, *names: str) -> None:
        """Mark options as taken care of in the entry of another."""
        self._seen.update(plain(name) for name in names)

    def require(self, name: str, default: str, allowed: tuple[str, ...], why: str) -> None:
        """Refuse every value of an option but some.

        Parameters
        ----------
        name, default
            As of :meth:`set`.
        allowed : tuple of str
            Plain words that change nothing.
        why : str
            Why others cannot be done, as the end of a sentence.

        Raises
        ------
        EngineInputError
            For another value.
        """
        self._seen.add(plain(name))
        if self.mdp.word(name, default) not in allowed:
            raise self.mdp.error(name, f"= {self.mdp.text(name)}: {why}")
        if name in self.mdp:
            self.result.note(IGNORED, self._name(name), self.mdp.text(name), self.place(name), why="asks for nothing")

    def place(self, name: str) -> Place:
        """Where an option stands."""
        return Place(self.mdp.path, self.mdp.line(name))

    def unknown(self) -> list[str]:
        """Options of the file that nothing was done with, by their plain names."""
        return [name for name in self.mdp if name not in self._seen]

    def _name(self, name: str) -> str:
        return self.mdp[name].name if name in self.mdp else name

    def _written(self, name: str, default: str) -> str:
        if name in self.mdp and self.mdp.text(name):
            return self.mdp.text(name)
        return f"{default} (GROMACS' default)" if default else ""
