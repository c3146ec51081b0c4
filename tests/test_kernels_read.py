"""Readers and backends of the fused kernels: tables with rows, and the private names they need of other packages."""

import os
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA
from nequip_models import CUTOFF, make_allegro, make_model

from openmm_nequip.errors import KernelsError, NotFusableError, UpstreamError
from openmm_nequip.kernels.backend import Generated
from openmm_nequip.kernels.cpu import CPU
from openmm_nequip.kernels.cpu.allegro import ALLEGRO_STEP
from openmm_nequip.kernels.cpu.generate import assemble
from openmm_nequip.kernels.cpu.mixing import MIXING_STEP
from openmm_nequip.kernels.fuse import BACKENDS, backend_for, fuse, generator
from openmm_nequip.kernels.read import READERS, read_model
from openmm_nequip.models import locate
from openmm_nequip.models.eager import load_module
from openmm_nequip.models.formats.torchscript import load_to_fuse
from openmm_nequip.upstream.nequip_modules import normalisation_constant, reciprocal_cutoffs, submodules, zbl_factor
from openmm_nequip.upstream.nequip_state import default_dtype, preserved_global_state

#: e^2 / (4 pi eps0) in eV Å, CODATA 2018.
COULOMB_EV_A = 14.3996


def module_of(model, kind):
    return next(module for module in model.modules() if type(module).__name__ == kind)


@pytest.mark.parametrize("cutoffs", [None, {"H": 3.0, "C": {"H": 3.5, "C": 4.0, "O": 3.2}}])
def test_cutoffs_are_where_they_were(cutoffs):
    options = {} if cutoffs is None else {"per_edge_type_cutoff": cutoffs}
    found = reciprocal_cutoffs(module_of(make_model(**options), "EdgeLengthNormalizer")).double().numpy().ravel()
    expected = [CUTOFF] if cutoffs is None else [3.0, 3.0, 3.0, 3.5, 4.0, 3.2, CUTOFF, CUTOFF, CUTOFF]
    assert np.allclose(1 / found, expected, rtol=1e-6)


def test_the_factor_of_the_repulsion_is_where_it_was():
    found = zbl_factor(module_of(make_model(zbl=True), "ZBL"))
    assert found == pytest.approx(COULOMB_EV_A / 2, rel=1e-4)


def test_factors_of_activations_are_where_they_were():
    from e3nn.math import normalize2mom

    x = torch.linspace(-3, 3, 20, dtype=torch.float64)
    for plain in (torch.nn.functional.silu, torch.tanh, lambda x: x):
        wrapped = normalize2mom(plain)
        assert torch.allclose(wrapped(x), normalisation_constant(wrapped) * plain(x), rtol=1e-6)
    assert normalisation_constant(torch.tanh) == 1.0


def test_modules_come_in_the_order_in_which_they_run():
    network = make_model().model.func
    assert [name for name, _ in submodules(network)] == [name for name, _ in network.named_children()]


@pytest.mark.parametrize("borrow", [reciprocal_cutoffs, zbl_factor, submodules])
def test_what_is_gone_is_said(borrow):
    with pytest.raises(UpstreamError, match="has no _.*known to work") as caught:
        borrow(object())
    assert caught.value.package in ("nequip", "torch")


def test_a_nequip_of_another_kind_is_refused_not_failed():
    model = make_model()
    delattr(module_of(model, "EdgeLengthNormalizer"), "_rmax_recip")
    with default_dtype(torch.float64), pytest.raises(NotFusableError, match="has no _rmax_recip"):
        read_model(model)


def test_each_family_has_one_reader():
    model = make_model()
    assert [reader.name for reader in READERS if reader.recognises(model)] == ["nequip"]
    with preserved_global_state():
        allegro = load_module(locate(DATA / "tiny-allegro.nequip.zip"))
    assert [reader.name for reader in READERS if reader.recognises(allegro)] == ["allegro"]
    with pytest.raises(NotFusableError, match="its modules .*Linear.* belong to no model of .*nequip and allegro"):
        read_model(torch.nn.Sequential(torch.nn.Linear(2, 2)))


def test_backends_are_rows():
    assert backend_for(torch.device("cpu")) is CPU and CPU in BACKENDS
    assert CPU.obstacle(torch.device("cpu")) == ""
    with pytest.raises(KernelsError, match="they run on CPUs, and the device is meta"):
        backend_for(torch.device("meta"))
    with pytest.raises(FrozenInstanceError):
        CPU.name = "other"
    assert len({backend.name for backend in BACKENDS}) == len({backend.device_type for backend in BACKENDS})


def test_an_obstacle_is_said_before_anything_is_made(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "CXX='no-such-compiler' is not a program" in CPU.obstacle(torch.device("cpu"))


@pytest.mark.slow
def test_a_backend_alone_runs_a_model():
    """From the model to numbers through the row, as the rest of the package does."""
    with default_dtype(torch.float64):
        fused = fuse(make_model(), True, CPU)
    library = CPU.open(Generated(fused.source, fused.weights, fused.constants), kernels_folder())
    positions = np.array([[0.0, 0, 0], [0, 0, 1.1]])
    edges = np.array([[0, 1], [1, 0]]), np.zeros((2, 3))
    energies, forces, _ = CPU.step(library)(positions, np.array([0, 1]), *edges, np.eye(3), 1)
    assert np.isfinite(energies).all() and np.abs(forces.sum(axis=0)).max() < 1e-12 < np.abs(forces).max()


def kernels_folder():
    return Path(os.environ["OPENMM_NEQUIP_CACHE"]) / "kernels"


CPU_FOLDER = Path(__file__).parents[1] / "openmm_nequip" / "kernels" / "cpu"
HEADERS = {header.name: header for header in CPU_FOLDER.rglob("*.hpp")}


def early_allegro():
    """A deployed Allegro file of nequip <= 0.6."""
    return load_to_fuse(locate(DATA / "early-allegro.pth"))[0]


@pytest.mark.parametrize("tables", [True, False])
def test_the_generated_text_needs_nothing_beside_it(tables):
    """It travels inside packages: everything it includes but headers of the system is in it, each once."""
    included = set()
    for make in (make_model, make_allegro, early_allegro):
        with default_dtype(torch.float64):
            source = fuse(make(), tables).source
        assert not re.findall(r'^\s*#include\s+"', source, re.MULTILINE)
        files = re.findall(r'#line 1 "(.*)"', source)
        assert len(files) == len(set(files))
        included |= set(files)
    assert included == {"model.cpp", "model.inc", "network_step.inc", *HEADERS}, "each header serves some family"


def test_lines_of_the_text_are_lines_of_the_files():
    """A compiler's message then leads to the place in the header."""
    files = HEADERS | {"model.cpp": CPU_FOLDER / "model.cpp"}
    name, number = "", 0
    texts = assemble("// model"), assemble("// model", ALLEGRO_STEP), assemble("// model", MIXING_STEP)
    for line in "".join(texts).splitlines():
        place = re.match(r'#line (\d+) "(.*)"', line)
        if place:
            number, name = int(place[1]), place[2]
            continue
        if line and not name.endswith(".inc"):
            assert files[name].read_text().splitlines()[number - 1] == line
        number += 1


def test_headers_say_what_they_are():
    """Each begins with what it does, how memory is laid out or what its names mean, and stays readable."""
    for header in HEADERS.values():
        text = header.read_text()
        head = text.split("#pragma once")[0]
        assert len(head.splitlines()) >= 5 and "// " in head, header.name
        assert len(text.splitlines()) <= 400 and max(map(len, text.splitlines())) <= 130, header.name


def test_the_digest_covers_every_file():
    """What older code has generated is not used with newer code."""
    folder = Path(__file__).parents[1] / "openmm_nequip" / "kernels"
    assert re.fullmatch("[0-9a-f]{64}", generator())
    kinds = {path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert kinds <= {".py", ".hpp", ".cpp", ".cc", ".md"}, "a new kind of file belongs into the digest"
