"""Where CP2K finds the files that an input names."""

from __future__ import annotations

import os
from pathlib import Path

from .cp2k_sections import Keyword

#: The environment variable that names CP2K's data folder.
DATA_DIR = "CP2K_DATA_DIR"


def find_file(keyword: Keyword, folder: Path, data: bool = False) -> str:
    """Path of a file: in the run folder, and for models then in CP2K's data folder.

    Parameters
    ----------
    keyword : Keyword
        It names the file.
    folder : pathlib.Path
        Folder of the input, which is the run folder where CP2K is started in it; the current folder is another.
    data : bool
        Whether :data:`DATA_DIR` is searched, too.

    Returns
    -------
    str
        Absolute.

    Raises
    ------
    EngineInputError
        If there is no such file, or two different ones could be meant.
    """
    name = os.path.expanduser(keyword.word())
    places = list(dict.fromkeys(os.path.abspath(where / name) for where in (folder, Path.cwd())))
    found = [path for path in places if os.path.isfile(path)]
    if len(found) > 1 and Path(found[0]).read_bytes() != Path(found[1]).read_bytes():
        raise keyword.error(f"{found[0]} and {found[1]} differ, and either may be meant; give the whole path of one")
    if found:
        return found[0]
    stated = os.environ.get(DATA_DIR, "")
    if data and stated:
        path = os.path.abspath(Path(stated) / name)
        if os.path.isfile(path):
            return path
        places.append(path)
    cure = "put it there, or correct the name"
    if data and not stated:
        cure += f"; CP2K's data folder is looked through where {DATA_DIR} names it, and that is not set"
    raise keyword.error(f"there is no file {' and no '.join(places)}; {cure}")
