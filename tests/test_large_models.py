"""What models of foundation size need, on small ones: weights read and not probed, energies by size, fitting times."""

import shutil

import numpy as np
import pytest
import torch
from conftest import DATA
from nequip_models import make_model

from openmm_nequip.app.accuracy import frame_answers
from openmm_nequip.app.cli import main
from openmm_nequip.kernels.read import bilinear, nequip_layers, read_model
from openmm_nequip.models.compiling import aot
from openmm_nequip.models.own_answers import find_edges, make_references
from openmm_nequip.upstream.nequip_state import default_dtype

MODEL = str(DATA / "tiny-nequip.nequip.zip")
#: Relative to the largest weight.
ROUNDING = {"float64": 1e-12, "float32": 1e-5}
#: Of all structures together.
MOST_EDGES = 2500


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{"l_max": 2, "parity": True}, {"l_max": 3, "num_features": [6, 5, 4, 3]}])
def test_self_connections_are_read_as_they_were_probed(monkeypatch, dtype, options):
    """Once from the weights, not once for each of 89 types."""
    model = make_model(model_dtype=dtype, noise=0.1, num_layers=3, type_embed_num_features=7, **options)
    with default_dtype(torch.float64):
        read = read_model(model)
        monkeypatch.setattr(nequip_layers, "bilinear_maps", lambda *_: None)
        probed = read_model(model)
    assert any(layer.connection for layer in read.layers)
    for one, other in zip(read.layers, probed.layers, strict=True):
        known = {(mix.source, mix.target): mix.weights for mix in other.connection}
        found = {(mix.source, mix.target): mix.weights for mix in one.connection}
        assert found.keys() == known.keys()
        for key, stack in found.items():
            assert np.abs(stack - known[key]).max() <= ROUNDING[dtype] * np.abs(known[key]).max()


def test_products_of_another_convention_are_probed():
    """Weights whose meaning is not as expected are not believed: the module itself is asked."""
    model = make_model(noise=0.1, num_layers=3)
    connection = model.model.func.layer1_convnet.conv.sc
    embedding = model.model.func.type_embed.embed_module.weight.detach()
    inputs, outputs = (bilinear.blocks_of(irreps) for irreps in (connection.irreps_in1, connection.irreps_out))
    assert bilinear.bilinear_maps(connection, inputs, outputs, embedding) is not None

    class Other(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("irreps_in1", "irreps_in2", "irreps_out", "instructions", "weight"):
                setattr(self, name, getattr(connection, name))

        def forward(self, x, row):
            return 1.01 * connection(x, row)

    assert bilinear.bilinear_maps(Other(), inputs, outputs, embedding) is None
    assert bilinear.bilinear_maps(torch.nn.Identity(), inputs, outputs, embedding) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "arguments", "kernels"),
    [(1.0, [], True), (None, [], False), (1.0, ["--no-compile"], False), (1.0, ["--kernels", "none"], False)],
)
def test_energy_chooses_by_the_memory_that_it_would_need(tmp_path, monkeypatch, capsys, limit, arguments, kernels):
    if limit is not None:
        monkeypatch.setattr(frame_answers, "MUCH_MEMORY", limit)
    if kernels:  # those in the cache are used without a word
        monkeypatch.setenv("OPENMM_NEQUIP_CACHE", str(tmp_path / "cache"))
    structure = tmp_path / "water.xyz"
    structure.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    assert main(["energy", MODEL, str(structure), *arguments]) == 0
    assert ("the fused kernels are used" in capsys.readouterr().err) == kernels


@pytest.mark.slow
def test_energy_of_large_models_that_cannot_be_fused_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(frame_answers, "MUCH_MEMORY", 1.0)
    monkeypatch.setattr("openmm_nequip.models.opening.fused_model", refuse)
    structure = tmp_path / "water.xyz"
    structure.write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    # A copy, which no other test has open.
    model = shutil.copy(MODEL, tmp_path / "model.nequip.zip")
    assert main(["energy", str(model), str(structure)]) == 0
    assert "GB, and the fused kernels cannot run this model: no such kernels" in capsys.readouterr().err


def refuse(*_):
    from openmm_nequip.errors import KernelsError

    raise KernelsError("no such kernels")


def test_times_fit_the_model(monkeypatch, tmp_path):
    said = []

    def stop(command, what, *_, **__):
        said.append(what)
        return 1

    monkeypatch.setattr(aot, "run_program", stop)
    source = aot.ModelSource(MODEL, "package", "0" * 64, 1)
    import dataclasses

    for size in (1e5, 1e7, 7.5e7):
        sized = dataclasses.replace(source, size_bytes=int(size))
        with pytest.raises(aot.CompileError):
            aot.compile_in_worker(sized, torch.device("cpu"), tmp_path / "x.pt2", [])
    assert [what.split(": ")[1].split(",")[0] for what in said] == [
        "a minute or two", "some minutes", "ten minutes or more for a model of this size"
    ]  # fmt: skip


@pytest.mark.parametrize("n_types", [37, 89])
def test_libraries_of_many_types_are_checked_on_few_edges_with_every_type(n_types):
    """Bonds, close pairs, images and every type remain; an edge of a large model takes a millisecond."""
    types = [f"T{i}" for i in range(n_types)]
    model = make_model(types, num_layers=1, num_features=2, radial_mlp_width=4)
    references = make_references(model, {"r_max": "4.0", "type_names": " ".join(types)})
    seen, shortest, edges = set(), [], 0
    for one in references.structures:
        seen |= set(one.types.tolist())
        index, shifts = find_edges(one.positions, one.cell, bool(one.periodic), references.cutoff)
        edges += index.shape[1]
        vectors = one.positions[index[1]] - one.positions[index[0]] + shifts @ one.cell
        shortest.append(np.linalg.norm(vectors, axis=1).min() / references.cutoff)
    assert seen == set(range(n_types))
    assert min(shortest) < 0.11
    assert sum(value < 0.25 for value in shortest) >= 2
    assert edges < MOST_EDGES
