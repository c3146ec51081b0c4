"""Something done when another package's module is imported, at whatever time that is."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any


def before_import(name: str, action: Callable[[], None]) -> None:
    """Do something just before a module is imported; nothing if it is imported already.

    Borrowed: a finder on ``sys.meta_path``, which Python documents for finding modules and not for acting on their
    imports. Known to work: Python 3.10 to 3.13. There is no public way to act on the import of a module that does not
    know of us. Test: ``tests/test_upstream_imports.py``.

    Parameters
    ----------
    name : str
        The module, with its package.
    action : callable
        What to do; it may import other modules, and must not raise.
    """
    if name not in sys.modules:
        sys.meta_path.insert(0, _Hook(name, before=action))


def after_import(name: str, action: Callable[[Any], None]) -> None:
    """Do something with a module just after its import; at once if it is imported already.

    Borrowed: as :func:`before_import`, and the loader's ``exec_module``, which is replaced for this one module. Where a
    loader has none, nothing is done. Test: ``tests/test_upstream_imports.py``.

    Parameters
    ----------
    name : str
        The module, with its package.
    action : callable
        What to do; gets the module, and must not raise.
    """
    module = sys.modules.get(name)
    if module is not None:
        action(module)
    else:
        sys.meta_path.insert(0, _Hook(name, after=action))


class _Hook:
    """A meta path finder that finds nothing by itself, asked first once for the module it waits for."""

    def __init__(
        self, name: str, before: Callable[[], None] | None = None, after: Callable[[Any], None] | None = None
    ) -> None:
        self._name = name
        self._before = before
        self._after = after

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Let the other finders find the module, and see to the action."""
        if name != self._name:
            return None
        with contextlib.suppress(ValueError):  # another thread came first
            sys.meta_path.remove(self)
        if self._before is not None:
            self._before()
        if self._after is None:
            return None
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            self._wrap(spec.loader, self._after)
        return spec

    @staticmethod
    def _wrap(loader: Any, after: Callable[[Any], None]) -> None:
        execute = loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            after(module)

        loader.exec_module = exec_module
