"""What a run was made from, in ``provenance.json``: files and their digests, versions, the command."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import RunFolderError
from ..model_facts import installed_versions
from .run_config import RunConfig
from .run_folder import RunFolder
from .run_inputs import RunInput, inputs_from_json, inputs_to_json, sha256_of_file, take_inputs

logger = logging.getLogger(__name__)

#: Form of the file that this release writes; release 0.1 wrote one without a number.
FORM = 2
_DIGEST = "sha256"
#: All that release 0.1 wrote.
_FIRST_KEYS = {"model_sha256", "structure_sha256", "versions", "command"}


@dataclass
class RunRecord:
    """The record of a run.

    Parameters
    ----------
    folder : RunFolder
        Where it is.
    inputs : list of RunInput
        Files that the run was started from.
    files : dict of str to list of str
        SHA-256 that a file of the folder may have, by name. Two while it is being replaced.
    sealed : bool
        Whether all checkpoints carry a digest; those of release 0.1 do not.
    more : dict
        Versions and command.
    """

    folder: RunFolder
    inputs: list[RunInput]
    files: dict[str, list[str]] = field(default_factory=dict)
    sealed: bool = True
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(cls, config: RunConfig, folder: RunFolder) -> RunRecord:
        """The record of a run that begins; small input files are copied into the folder."""
        more = {"versions": installed_versions(), "command": sys.argv}
        return cls(folder, take_inputs(config, folder.path), more=more)

    @classmethod
    def read(cls, folder: RunFolder, config: RunConfig) -> RunRecord:
        """The record of a run that is there.

        Parameters
        ----------
        folder : RunFolder
            Of the run.
        config : RunConfig
            Its settings, from which what release 0.1 left out is filled in.

        Returns
        -------
        RunRecord

        Raises
        ------
        RunFolderError
            If it is damaged, or of a later release.
        """
        path = folder.provenance
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
            if set(known) == _FIRST_KEYS:
                return cls._of_release_0_1(folder, config, known)
            if known.pop(_DIGEST) != _digest_of(known):
                raise ValueError("its content is not that of its SHA-256")
            if known["form"] != FORM:
                raise RunFolderError(
                    f"--restart: {path} was written by another release (form {known['form']!r}, this one reads "
                    f"{FORM}); go on with that release",
                    str(path),
                )
            more = {key: known[key] for key in ("versions", "command")}
            return cls(folder, inputs_from_json(known["inputs"]), known["files"], known["sealed"], more)
        except RunFolderError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(
                f"--restart: {path} is damaged or gone ({error or type(error).__name__}); put a copy of it back, or "
                "start another run",
                str(path),
            ) from None

    @classmethod
    def _of_release_0_1(cls, folder: RunFolder, config: RunConfig, known: dict[str, Any]) -> RunRecord:
        inputs = [
            RunInput(name, None, str(getattr(config, name)), None, known[f"{name}_sha256"], None)
            for name in ("model", "structure")
        ]
        return cls(folder, inputs, {}, False, {key: known[key] for key in ("versions", "command")})

    def write(self) -> None:
        """Write it, whole or not at all."""
        first = {f"{item.setting}_sha256": item.sha256 for item in self.inputs if item.place is None}
        known = {"form": FORM, **first, "inputs": inputs_to_json(self.inputs), "files": self.files}
        known |= {"sealed": self.sealed, **self.more}
        self.folder.write_json(self.folder.provenance, known | {_DIGEST: _digest_of(known)})

    def write_text(self, path: Path, text: str) -> None:
        """Write a file of the folder and its digest, so that the two belong together at every moment.

        Parameters
        ----------
        path : pathlib.Path
            One of the folder's names.
        text : str
            What to write, as UTF-8.
        """
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.files[path.name] = [digest, *self.files.get(path.name, [])[:1]]
        self.write()
        self.folder.write_text(path, text)
        self.files[path.name] = [digest]
        self.write()

    def note(self, path: Path) -> None:
        """Take the digest of a file that was written otherwise."""
        self.files[path.name] = [sha256_of_file(path)]
        self.write()

    @property
    def has_start(self) -> bool:
        """Whether System and start are there as they were written."""
        return self.is_whole(self.folder.system) and self.is_whole(self.folder.start)

    def note_results(self) -> None:
        """Take the digests of what the run left behind."""
        self.files |= {path.name: [sha256_of_file(path)] for path in self.folder.results if path.is_file()}
        self.write()

    def forget_results(self) -> None:
        """Drop these digests before the run goes on; what only they could tell is told now."""
        # Logs, DCD and XTC are compared up to the checkpoint, since a crash may have left more behind it.
        path = self.folder.trajectory("h5")
        if not self.is_whole(path) and path.name in self.files:
            logger.warning("%s is not as the run wrote it: its SHA-256 is another", path)
        for path in self.folder.results:
            self.files.pop(path.name, None)

    def is_whole(self, path: Path) -> bool:
        """Whether a file is there as it was written; one of which no digest is known counts as whole."""
        try:
            known = self.files.get(path.name)
            return path.is_file() if known is None else sha256_of_file(path) in known
        except OSError:
            return False

    def require(self, path: Path, cure: str) -> None:
        """Refuse a file that is not as the run wrote it.

        Parameters
        ----------
        path : pathlib.Path
            One of the folder's names.
        cure : str
            What to do.

        Raises
        ------
        RunFolderError
            If it is gone or another.
        """
        if not self.is_whole(path):
            state = "is not as the run wrote it (its SHA-256 is another)" if path.exists() else "is gone"
            raise RunFolderError(f"--restart: {path} {state}; {cure}", str(path))


def _digest_of(known: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def refuse_damaged(folder: RunFolder, path: Path) -> None:
    """Refuse a result of a run that ended if it is no longer as the run wrote it; a run that goes on has no digest yet.

    Parameters
    ----------
    folder : RunFolder
        Of the run.
    path : pathlib.Path
        One of its files.

    Raises
    ------
    RunFolderError
        If its SHA-256 is another, or the record of it cannot be read.
    """
    try:
        known = json.loads(folder.provenance.read_text(encoding="utf-8")).get("files", {}).get(path.name)
    except (OSError, ValueError, AttributeError) as error:
        raise RunFolderError(
            f"{folder.provenance} is damaged or gone ({error}); put a copy of it back", str(folder.provenance)
        ) from None
    if known is not None and path.is_file() and sha256_of_file(path) not in known:
        raise RunFolderError(
            f"{path} is not as the run wrote it (its SHA-256 is another); put a copy of it back, or run this again",
            str(path),
        )
