"""Hooks on the imports of other packages' modules: once, at the right time, whatever the order."""

import importlib
import sys
import warnings

import pytest

from openmm_nequip.upstream import old_addresses
from openmm_nequip.upstream.import_hooks import after_import, before_import

pytestmark = pytest.mark.torchforce_stack


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Name of a module in a package, neither of them imported yet."""
    package = tmp_path / "hooked_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("import sys\nVALUE = 1\nSEEN = 'hooked_before' in sys.modules\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finders = list(sys.meta_path)
    yield "hooked_package.inner"
    for name in [name for name in sys.modules if name.startswith("hooked_")]:
        del sys.modules[name]
    assert [finder for finder in sys.meta_path if finder not in finders] == []


def test_before_and_after_an_import(module):
    events = []

    def before():
        sys.modules["hooked_before"] = sys
        events.append("before")

    before_import(module, before)
    after_import(module, lambda found: events.append(found.VALUE))
    after_import(module, lambda found: setattr(found, "VALUE", found.VALUE + 1))
    import hooked_package

    assert events == []  # the package is another module
    from hooked_package import inner

    assert "before" in events and 2 in (inner.VALUE, *events) and inner.VALUE == 2 and inner.SEEN
    assert events.count("before") == 1 and len(events) == 2
    import importlib

    importlib.reload(inner)
    assert len(events) == 2 and inner.VALUE == 1 and hooked_package.inner is inner


def test_what_is_imported_already(module):
    from hooked_package import inner  # noqa: F401

    events = []
    after_import(module, lambda found: events.append(found.VALUE))
    before_import(module, lambda: events.append("never"))
    assert events == [1]


def test_a_module_that_is_not_there():
    """Nothing happens, and the import fails as it would without us."""
    before, events = list(sys.meta_path), []
    after_import("hooked_absent", events.append)
    with pytest.raises(ModuleNotFoundError, match="hooked_absent"):
        import hooked_absent  # noqa: F401
    assert events == [] and sys.meta_path == before


def test_other_modules_are_left_alone(module):
    after_import(module, lambda found: None)
    (hook,) = [finder for finder in sys.meta_path if type(finder).__module__ == "openmm_nequip.upstream.import_hooks"
               and finder.find_spec("hooked_package.other", None) is None][:1]  # fmt: skip
    from hooked_package import inner  # noqa: F401

    assert hook not in sys.meta_path or hook.find_spec(module, None) is None


@pytest.mark.parametrize(("old", "new"), old_addresses.MOVED.items())
def test_modules_of_release_0_1_are_found_at_their_new_address(old, new, monkeypatch):
    """With a warning; what they hold is the very same."""
    name = f"openmm_nequip.{old}"
    for key in [key for key in sys.modules if key == name or key.startswith(name + ".")]:
        monkeypatch.delitem(sys.modules, key)
    with pytest.warns(DeprecationWarning, match=f"{name} is openmm_nequip.{new} now"):
        found = importlib.import_module(name)
    module = importlib.import_module(f"openmm_nequip.{new}")
    public = [key for key in vars(module) if not key.startswith("_")]
    assert all(getattr(found, key) is getattr(module, key) for key in public)
    monkeypatch.delitem(sys.modules, name)


def test_names_that_were_never_there_are_not_found():
    for name in ("openmm_nequip.simulation", "openmm_nequip.mixed.nothing", "openmm_nequip.wrapper.inner"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(ModuleNotFoundError):
                importlib.import_module(name)


def test_scripts_of_release_0_1_go_on():
    from openmm_nequip.mixed import build_mixed_system, selectAtoms
    from openmm_nequip.simulate.config import make_config
    from openmm_nequip.simulate.structures import read_structure

    from openmm_nequip import hybrid
    from openmm_nequip.app.run import run_config

    assert selectAtoms is hybrid.select_atoms and build_mixed_system is hybrid.build_mixed_system
    assert make_config is run_config.make_config and callable(read_structure)
