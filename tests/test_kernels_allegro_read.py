"""Reading Allegro models: private names of nequip-allegro, older forms of its modules, and what is refused by name."""

import io
import math

import numpy as np
import pytest
import torch
from nequip.nn import ScalarMLPFunction
from nequip_models import CUTOFF, make_allegro

from openmm_nequip.errors import NotFusableError, UpstreamError
from openmm_nequip.kernels.read import read_model
from openmm_nequip.kernels.read.probing import read_mlp
from openmm_nequip.kernels.read.scripted import show
from openmm_nequip.upstream.allegro_modules import (
    environment_weighter,
    scalars_per_layer,
    spline_constant,
    sum_factor,
    tensor_weighter,
    weighted_orders,
)
from openmm_nequip.upstream.nequip_state import default_dtype


def module_of(model, kind):
    return next(module for module in model.modules() if type(module).__name__ == kind)


def read(model):
    with default_dtype(torch.float64):
        return read_model(model)


def test_weights_of_harmonics_are_where_they_were():
    for individual, orders in ((True, 3), (False, 1)):
        model = make_allegro(l_max=2, weight_individual_irreps=individual)
        weighter = environment_weighter(module_of(model, "Allegro_Module"))
        assert type(weighter).__name__ == "MakeWeightedChannels" and weighted_orders(weighter) == orders
        embed = module_of(model, "TwoBodySphericalHarmonicTensorEmbed")
        assert weighted_orders(tensor_weighter(embed)) == 3
    assert scalars_per_layer(module_of(model, "Allegro_Module")) == [1, 1]


def test_splines_are_where_they_were():
    spline = module_of(make_allegro(splines={"num_splines": 6, "spline_span": 4}), "PerClassSpline")
    assert spline_constant(spline) == pytest.approx(2 * math.pi * 6 / 5)


BORROWED = [environment_weighter, tensor_weighter, scalars_per_layer, spline_constant, sum_factor]


@pytest.mark.parametrize("borrow", BORROWED)
def test_what_is_gone_is_said(borrow):
    with pytest.raises(UpstreamError, match="has no _.*known to work: 0.7 to 0.8") as caught:
        borrow(object())
    assert caught.value.package == "nequip-allegro"


def test_factors_of_sums_by_type_and_of_older_modules():
    """Until nequip-allegro 0.8.0 the tensor products and the sum of energies have one factor each."""
    numbers = {"H": 4.0, "C": 25.0, "O": 9.0}
    program = read(make_allegro(avg_num_neighbors=numbers, per_type_energy_scales=3.0))
    assert np.allclose(program.norms, [0.5, 0.2, 1 / 3], rtol=1e-6)
    assert np.allclose(program.scales, 3.0 * program.norms / math.sqrt(2), rtol=1e-6)
    older = make_allegro()
    allegro, reduce = module_of(older, "Allegro_Module"), module_of(older, "EdgewiseReduce")
    del allegro.avg_num_neighbors_norm
    for tp in allegro.tps:
        tp.scatter_factor = 0.25
    reduce._factor = 0.125
    program = read(older)
    assert np.allclose(program.norms, 0.25) and np.allclose(program.scales, [0.125, 0.1625, 0.2])
    assert np.allclose(program.reciprocal_cutoffs, 1 / CUTOFF)


def replaced(kind):
    def change(model):
        module_of(model, kind).__class__ = type("Unknown", (torch.nn.Module,), {})

    return change


def scalars_of_two(model):
    module_of(model, "Allegro_Module")._n_scalar_outs = [2, 1]


def mean_of_edges(model):
    module_of(model, "EdgewiseReduce").reduce = "mean"


def bias(model):
    layer = module_of(module_of(model, "Allegro_Module").latents[0], "ScalarLinearLayer")
    layer.bias = torch.nn.Parameter(torch.zeros(layer.out_features))


def without_products(model):
    del module_of(model, "Allegro_Module").tps


def test_scripted_networks_without_activations_are_read():
    """nequip makes one product of their matrices; what scripting leaves of a list of parameters is no list."""
    module = ScalarMLPFunction(4, 3, hidden_layers_depth=2, hidden_layers_width=5, nonlinearity=None)
    content = io.BytesIO()
    torch.jit.save(torch.jit.script(module), content)
    content.seek(0)
    matrices, _ = read_mlp(show(torch.jit.load(content)), "a network")
    x = torch.eye(4)
    assert len(matrices) == 1 and np.allclose(matrices[0], module(x).detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("TwoBodySphericalHarmonicTensorEmbed"), "module tensor_embed is a Unknown"),
        (replaced("ProductTypeEmbedding"), "type_embed of the scalar embedding is a Unknown"),
        (replaced("Contracter"), "tps.0 is a Unknown instead of a Contracter"),
        (scalars_of_two, "give more than one scalar"),
        (mean_of_edges, "reduced by 'mean'"),
        (bias, "latents.0 has a bias"),
        (without_products, "not built as those that the reader of allegro knows .AttributeError: .*tps"),
    ],
)
def test_what_is_not_known_is_named(change, message):
    model = make_allegro()
    change(model)
    with pytest.raises(NotFusableError, match=message):
        read(model)
