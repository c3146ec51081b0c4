"""Borrowed from nequip: where it keeps downloaded models, and how it warns of other versions."""

from __future__ import annotations

from ..errors import UpstreamError


def downloaded(model_id: str) -> str:
    """Path of the local copy of a ``nequip.net:`` model, downloaded by nequip at first use.

    Borrows ``_get_model_file_path`` of ``nequip.model.saved_models.load_utils`` (nequip 0.15 to 0.19): the public
    loader returns the loaded module, and code of a file must not run before its SHA-256 was compared. Watched by
    ``tests/test_models.py`` (the error of an id that does not exist).

    Parameters
    ----------
    model_id : str
        The id, with its ``nequip.net:`` prefix.

    Returns
    -------
    str

    Raises
    ------
    UpstreamError
        If nequip has no such function.
    """
    try:
        from nequip.model.saved_models.load_utils import _get_model_file_path
    except ImportError as error:
        raise UpstreamError(
            f"this nequip has no _get_model_file_path ({error}), which is known in nequip 0.15 to 0.19; download the "
            "package and give its path",
            "nequip",
        ) from error
    with _get_model_file_path(model_id) as path:
        return str(path)
