"""Which pair style of a LAMMPS is used with which file, what LAMMPS is told then, and how long ranks are waited for."""

import os
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import DATA

from openmm_nequip.app.engines.lammps import rank_patience
from openmm_nequip.app.engines.lammps.lammps_input import Dynamics
from openmm_nequip.app.engines.lammps.pair_domain import PairDomain, PairModel, styles_here
from openmm_nequip.app.engines.lammps.pair_files import PairFiles
from openmm_nequip.app.engines.lammps.rank_patience import RankPatience
from openmm_nequip.errors import NonFiniteError
from openmm_nequip.models import load_model, locate


def test_patience_follows_the_longest_step(monkeypatch):
    patience = RankPatience()
    assert patience.limit == 3600.0
    monkeypatch.setattr(rank_patience, "LEAST_S", 0.2)
    patience.listen(iter(["@answer 1\n"]))
    assert patience.line(measured=False) == "@answer 1\n" and patience.limit == 3600.0
    assert patience.line(measured=True) == "" and patience.limit == 0.2
    monkeypatch.setattr(rank_patience, "STEPS", 1e6)
    assert patience.limit > 0.2
    short = RankPatience(0.1)
    with pytest.raises(TimeoutError, match=r"0\.1 s"):
        short.line(measured=True)
    assert short.limit == 0.1


class Recorder:
    """What LAMMPS' Python object is asked and told, where ML-IAP is."""

    made = []

    def __init__(self, cmdargs, comm):
        self.cmdargs, self.commands, self.steps = cmdargs, [], 0
        self.lib = SimpleNamespace(PyInit_mliap_unified_couple_kokkos=None)
        self.numpy = SimpleNamespace(
            extract_fix=lambda *_: np.ones((5, 3)), extract_compute=lambda *_: np.zeros((5, 3)),
            extract_atom=lambda name, **_: np.arange(1, 6) if name == "id" else np.zeros((5, 3)),
        )  # fmt: skip
        Recorder.made.append(self)

    def has_style(self, category, name):
        return (category, name) == ("pair", "mliap/kk")

    def command(self, text):
        self.commands.append(text)
        if text.startswith("minimize"):
            self.steps += min(int(text.split()[3]), 70 - self.steps)

    def commands_list(self, texts):
        self.commands += texts

    def extract_setting(self, name):
        return 3

    def extract_global(self, name):
        return self.steps

    def get_thermo(self, name):
        return -1.5

    def close(self):
        pass


def test_mliap_is_told_to_kokkos(monkeypatch):
    """LAMMPS with ML-IAP for Python needs a GPU to be built for; what it is told is recorded here."""
    activated = []
    package = ModuleType("lammps")
    package.lammps = Recorder
    package.mliap = ModuleType("lammps.mliap")
    package.mliap.activate_mliappy_kokkos = activated.append
    monkeypatch.setitem(sys.modules, "lammps", package)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0")
    monkeypatch.setitem(sys.modules, "lammps.mliap", package.mliap)
    alone = SimpleNamespace(allreduce=lambda value: value, allgather=lambda value: [value])
    assert styles_here(alone) == ["mliap"]
    told = []
    domain = PairDomain(alone, PairModel("mliap", "/a b/model.nequip.lmp.pt", ["O", "H"]), lambda: told.append(1))
    lammps = Recorder.made[-1]
    gpus = str(max(1, torch.cuda.device_count()))
    asked = ["-k", "on", "g", gpus, "-sf", "kk", "-pk", "kokkos", "newton", "on", "neigh", "half"]
    assert activated == [lammps] and lammps.cmdargs[-len(asked) :] == asked
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    domain.load("atoms.data", True, 0, Dynamics(0.0005, 7, 300.0, 1.0))
    text = "\n".join(lammps.commands)
    pair = 'pair_style mliap unified "/a b/model.nequip.lmp.pt" 0\npair_coeff * * O H'
    assert f"{pair}\nfix stored all store/force" in text
    assert "newton on" in text and text.index("fix stored") < text.index("fix thermostat")
    assert domain.energy == -1.5 and told == [1]
    domain.minimize(0.1, 1000)
    asked = [line.split()[3] for line in lammps.commands if line.startswith("minimize")]
    assert asked == ["50", "50"] and told == [1] * 4
    assert (domain.state().forces == 1).all() and domain.state().forces.shape == (3, 3)
    lammps.numpy.extract_fix = lambda *_: np.full((3, 3), np.nan)
    lammps.get_natoms = lambda: 3
    with pytest.raises(NonFiniteError) as caught:
        domain.run(1)
    assert list(caught.value.indices) == [0, 1, 2]


@pytest.mark.parametrize(("styles", "ranks", "name", "chosen"), [
    (["nequip", "allegro"], 4, "allegro", "allegro"), (["nequip", "allegro"], 1, "nequip", "nequip"),
    (["nequip", "allegro"], 2, "nequip", None), (["nequip", "mliap"], 2, "nequip", None), ([], 1, "nequip", None),
])  # fmt: skip
def test_pair_styles_get_exported_files(tmp_path, caplog, styles, ranks, name, chosen):
    """The file of TorchScript stands for the package, which takes seconds to script."""
    source = locate(DATA / f"tiny-{name}.nequip.pth")
    names = ["H", "C", "N", "O"]
    with caplog.at_level("INFO"):
        found = PairFiles(source, (None, None), names).write(styles, ranks, tmp_path)
    if chosen is None:
        words = "" if not styles else "is not used" if "mliap" in styles else "do not serve"
        assert found is None and words in caplog.text
        return
    assert found.style == chosen and found.names == names and found.path == str(tmp_path / "model.nequip.pth")
    assert "--pair-style none" in caplog.text and load_model(found.path, kernels="none").info.type_names == tuple(names)
    assert PairFiles(source, (None, None), ["H", "H"]).write(styles, ranks, tmp_path) is None
