"""Files that carry their own digest, so that damage is seen before it becomes another number.

A file and its digest must change at once, since a kill may come between two files; so the digest stands at the end of
the file: in a checkpoint after OpenMM's bytes, in the XML of a State or System as a comment. OpenMM reads all of them
as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

_MARK = b"openmm-nequip sealed "
_COMMENT = b"<!-- ", b" -->\n"
_HEX = hashlib.sha256().digest_size * 2


class Unsealed(NamedTuple):
    """A file without its seal."""

    content: bytes  #: what was sealed
    facts: dict[str, Any] | None  #: what was sealed with it; None for a file without a seal, as release 0.1 wrote it


def seal(content: bytes, facts: Mapping[str, Any], xml: bool = False) -> bytes:
    """Content, facts about it and a digest of both.

    Parameters
    ----------
    content : bytes
        What the file is about.
    facts : mapping
        JSON-ready.
    xml : bool
        Whether the content is XML.

    Returns
    -------
    bytes
    """
    text = json.dumps(dict(facts), sort_keys=True).encode()
    before, after = _COMMENT if xml else (b"", b"")
    digest = hashlib.sha256(content + text).hexdigest().encode()
    # The length in front tells where the facts begin, whatever bytes the content has.
    return content + before + text + b" " + _MARK + b"%016d " % len(text) + digest + after


def unseal(stored: bytes, xml: bool = False) -> Unsealed:
    """Take a file apart again.

    Parameters
    ----------
    stored : bytes
        The file.
    xml : bool
        Whether the content is XML.

    Returns
    -------
    Unsealed

    Raises
    ------
    ValueError
        If content, facts or digest are damaged.
    """
    before, after = _COMMENT if xml else (b"", b"")
    if _MARK not in stored:
        return Unsealed(stored, None)
    end = len(stored) - len(after)
    digest = stored[end - _HEX : end]
    head = stored[: max(end - _HEX, 0)]
    size_at = len(head) - 17
    try:
        if stored[end:] != after or not head[:size_at].endswith(b" " + _MARK) or head[-1:] != b" ":
            raise ValueError("its end is damaged")
        text_end = size_at - len(_MARK) - 1
        text_start = text_end - int(head[size_at:-1])
        content_end = text_start - len(before)
        if content_end < 0 or head[content_end:text_start] != before:
            raise ValueError("its end is damaged")
        content, text = head[:content_end], head[text_start:text_end]
        if hashlib.sha256(content + text).hexdigest().encode() != digest:
            raise ValueError("its content is not that of its SHA-256")
        return Unsealed(content, json.loads(text))
    except ValueError as error:
        raise ValueError(f"damaged: {error}") from None
