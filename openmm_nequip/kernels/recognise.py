"""From nequip's modules to a :class:`Program`, or the reason why not.

Modules are known by the name of their class: those of a package live under mangled module names, where ``isinstance``
fails. What a module computes is read from its weights where their meaning is plain, and measured by probing where it
depends on conventions of e3nn. The caller checks the whole result against the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .harmonics import fit_polynomials
from .program import Block, Gate, Layer, Mix, Path, Program, Radial, Repulsion

_SAMPLES = 200
_MAX_ORDER = 6

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": torch.nn.functional.silu,
    "tanh": torch.tanh,
    "abs": torch.abs,
    "ssp": lambda x: torch.nn.functional.softplus(x) - float(np.log(2.0)),
    "mish": torch.nn.functional.mish,
    "gelu": torch.nn.functional.gelu,
    "identity": lambda x: x,
}


class NotFusable(Exception):
    """The model has a part that the fused kernels do not know; the message names it."""


def recognise(model: Any) -> Program:
    """Read a NequIP model.

    Parameters
    ----------
    model : torch.nn.Module
        nequip's GraphModel, on the CPU, in evaluation mode.

    Returns
    -------
    Program

    Raises
    ------
    NotFusable
        If a module is not known, naming it.
    """
    head = model.model
    _expect(head, "ForceStressOutput", "the model's outermost module")
    network = head.func
    _expect(network, "SequentialGraphNetwork", "the energy model")
    parts = list(network._modules.items())
    names = [type(module).__name__ for _, module in parts]
    allowed = {
        "NodeTypeEmbed", "SphericalHarmonicEdgeAttrs", "EdgeLengthNormalizer", "BesselEdgeLengthEncoding",
        "ApplyFactor", "AddRadialCutoffToData", "ConvNetLayer", "ScalarMLP", "PerTypeScaleShift", "ZBL",
        "AtomwiseReduce",
    }  # fmt: skip
    inside = [type(child).__name__ for _, module in parts for child in module.modules()]
    allegro = next((kind for kind in inside if kind.startswith("Allegro")), None)
    if allegro:
        raise NotFusable(f"it is an Allegro model ({allegro}), and only NequIP's interaction layers are known so far")
    for (name, _), kind in zip(parts, names, strict=True):
        if kind not in allowed:
            raise NotFusable(f"module {name} is a {kind}, which the fused kernels do not know")

    def one(kind: str) -> Any:
        found = [module for (_, module), k in zip(parts, names, strict=True) if k == kind]
        if len(found) != 1:
            raise NotFusable(f"the model has {len(found)} modules of class {kind} instead of one")
        return found[0]

    embed, harmonics, norm = one("NodeTypeEmbed"), one("SphericalHarmonicEdgeAttrs"), one("EdgeLengthNormalizer")
    basis, readout, scale_shift = one("BesselEdgeLengthEncoding"), one("ScalarMLP"), one("PerTypeScaleShift")
    if getattr(embed, "do_categorical_graph_field_embed", False):
        raise NotFusable("NodeTypeEmbed embeds fields of the graph beside the atom types")
    _expect(basis.cutoff, "PolynomialCutoff", "the cutoff of the radial basis")
    factor = float(np.prod([float(m.factor) for (_, m), k in zip(parts, names, strict=True) if k == "ApplyFactor"]))
    if one("AtomwiseReduce").reduce != "sum" or one("AtomwiseReduce").constant != 1.0:
        raise NotFusable("the total energy is not the plain sum of atomic energies")
    n_types = int(embed.num_types)
    attributes = _array(embed.embed_module.weight)
    layers, blocks = [], [Block(attributes.shape[1], 0, 1)]
    for (name, module), kind in zip(parts, names, strict=True):
        if kind == "ConvNetLayer":
            layers.append(_layer(name, module, blocks, embed.embed_module.weight.detach()))
            blocks = layers[-1].gate.outputs
    if len(blocks) != 1 or blocks[0].l != 0:
        raise NotFusable(f"the last layer gives {_show(blocks)} instead of scalars of one parity")
    matrices, activation = _mlp(readout.mlp_module, "the readout")
    dtype = {torch.float32: "float32", torch.float64: "float64"}.get(model.model_dtype)
    if dtype is None:
        raise NotFusable(f"the model computes in {model.model_dtype}")
    zbl = [module for (_, module), k in zip(parts, names, strict=True) if k == "ZBL"]
    return Program(
        dtype=dtype,
        n_types=n_types,
        reciprocal_cutoffs=np.ascontiguousarray(np.broadcast_to(_cutoffs(norm, n_types), (n_types, n_types))),
        harmonics=_harmonics(harmonics),
        bessel=_array(basis.bessel_weights).ravel(),
        power=float(basis.cutoff.p),
        factor=factor,
        embedding=attributes,
        layers=layers,
        readout=matrices,
        readout_activation=activation,
        scales=_per_type(scale_shift.scales, n_types, 1.0),
        shifts=_per_type(scale_shift.shifts, n_types, 0.0),
        repulsion=_repulsion(zbl[0], float(basis.cutoff.p)) if zbl else None,
    )


def _expect(module: Any, kind: str, what: str) -> None:
    if type(module).__name__ not in (kind, "RecursiveScriptModule") and getattr(module, "original_name", "") != kind:
        raise NotFusable(f"{what} is a {type(module).__name__} instead of a {kind}")


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float64).cpu().numpy().copy()


def _show(blocks: list[Block]) -> str:
    return " + ".join(f"{b.mul}x{b.l}{'e' if b.p > 0 else 'o'}" for b in blocks)


def _blocks(irreps: Any) -> list[Block]:
    return [Block(int(mul), int(ir.l), int(ir.p)) for mul, ir in irreps if mul > 0]


def _cutoffs(norm: Any, n_types: int) -> np.ndarray:
    reciprocal = _array(norm._rmax_recip).ravel()
    return reciprocal.reshape(n_types, n_types) if reciprocal.size > 1 else reciprocal.reshape(1, 1)


def _per_type(values: torch.Tensor, n_types: int, default: float) -> np.ndarray:
    found = _array(values).ravel()
    return np.broadcast_to(found if found.size else np.array([default]), (n_types,)).copy()


def _repulsion(module: Any, power: float) -> Repulsion:
    if hasattr(module, "cutoff"):  # before nequip 0.17 the cutoff is that of the radial basis
        _expect(module.cutoff, "PolynomialCutoff", "the cutoff of the ZBL term")
        power = float(module.cutoff.p)
    return Repulsion(_array(module.atomic_numbers), float(module._qqr2exesquare), power)


def _harmonics(module: Any) -> list[np.ndarray]:
    blocks = _blocks(module.irreps_edge_sh)
    if [(b.mul, b.l, b.p) for b in blocks] != [(1, order, (-1) ** order) for order in range(len(blocks))]:
        raise NotFusable(f"edge attributes {_show(blocks)} are not the spherical harmonics of orders 0, 1, ...")
    if len(blocks) - 1 > _MAX_ORDER:
        raise NotFusable(f"edge attributes of order {len(blocks) - 1} are above the largest known, {_MAX_ORDER}")
    if not module.sh.normalize:
        raise NotFusable("edge attributes are harmonics of vectors that are not normalised")
    vectors = np.random.default_rng(0).normal(size=(_SAMPLES, 3))
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = _array(module.sh(torch.from_numpy(units)))
    found, start = [], 0
    for order in range(len(blocks)):
        stop = start + 2 * order + 1
        try:
            found.append(fit_polynomials(order, units, values[:, start:stop]))
        except ValueError as error:
            raise NotFusable(str(error)) from error
        start = stop
    return found


def _activation(function: Callable, dtype: torch.dtype) -> tuple[str, float]:
    """Name and factor of an elementwise function, told by its values."""
    x = torch.linspace(-4, 4, 41, dtype=dtype)
    y = function(x).detach().to(torch.float64)
    for name, candidate in ACTIVATIONS.items():
        expected = candidate(x.to(torch.float64))
        ratio = float((y * expected).sum() / expected.square().sum())
        if torch.allclose(y, ratio * expected, rtol=0, atol=1e-5 * max(1.0, abs(ratio))):
            cst = getattr(function, "cst", None)
            exact = 1.0 if cst is None or getattr(function, "_is_id", False) else float(cst)
            return name, exact if abs(exact - ratio) < 1e-5 else ratio
    raise NotFusable(f"the activation {getattr(function, 'f', function)!r} is not known")


def _mlp(module: Any, what: str) -> tuple[list[np.ndarray], tuple[str, float]]:
    """Matrices of a bias-free MLP, with their factors, and the function between them."""
    inner = module.mlp
    if type(inner).__name__ == "DeepLinearMLP":
        product = np.linalg.multi_dot([_array(w) for w in inner.weights]) * float(inner.alpha)
        return [product], ("identity", 1.0)
    matrices, activations = [], set()
    for part in inner:
        if type(part).__name__ == "ScalarLinearLayer":
            if part.bias is not None:
                raise NotFusable(f"{what} has a bias")
            matrices.append(_array(part.weight * part.alpha))
        elif hasattr(part, "weight"):
            raise NotFusable(f"{what} has a {type(part).__name__}")
        else:
            activations.add(_activation(part, torch.float64))
    if len(activations) > 1:
        raise NotFusable(f"{what} has more than one activation")
    return matrices, activations.pop() if activations else ("identity", 1.0)


def _probe(
    function: Callable[[torch.Tensor], torch.Tensor], sources: list[Block], targets: list[Block], dtype: torch.dtype
) -> dict[tuple[int, int], np.ndarray]:
    """Matrices of an equivariant linear map, from its action on one component of every channel."""
    dims = [b.mul * (2 * b.l + 1) for b in sources]
    result = {}
    for i, source in enumerate(sources):
        wanted = [j for j, target in enumerate(targets) if (target.l, target.p) == (source.l, source.p)]
        if not wanted:
            continue
        width = 2 * source.l + 1
        x = torch.zeros((source.mul, sum(dims)), dtype=dtype)
        x[torch.arange(source.mul), sum(dims[:i]) + torch.arange(source.mul) * width] = 1.0
        y = function(x).detach().to(torch.float64).numpy()
        start = 0
        for j, target in enumerate(targets):
            stop = start + target.mul * (2 * target.l + 1)
            if j in wanted:
                matrix = y[:, start : stop : 2 * target.l + 1].copy()
                if matrix.any():
                    result[i, j] = matrix
            start = stop
    return result


def _gate(name: str, module: Any, dtype: torch.dtype) -> tuple[Gate, list[Block], list[int]]:
    """The gate, the blocks of its own input, and for each block of :attr:`Gate.inputs` where it starts there."""
    if type(module).__name__ != "Gate":
        raise NotFusable(f"{name} has the nonlinearity {type(module).__name__}, not a Gate")
    kinds = [_blocks(module.irreps_scalars), _blocks(module.irreps_gates), _blocks(module.irreps_gated)]
    scalars, gates, gated = kinds
    functions = [*module.act_scalars.acts, *module.act_gates.acts]
    # e3nn merges neighbouring gates of one parity; they are cut again to match what they gate.
    if len(gates) != 1 and len(gates) != len(gated):
        raise NotFusable(f"{name} has gates {_show(gates)} for {_show(gated)}")
    names = [_activation(f, dtype) for f in functions]
    if len(names) < len(scalars) or len(set(names[len(scalars) :])) > 1 and len(names) != len(scalars) + len(gated):
        raise NotFusable(f"{name} has a gate whose activations do not match its scalars")
    parities = [gates[0].p] * len(gated) if len(gates) == 1 else [g.p for g in gates]
    cut = [Block(b.mul, 0, p) for b, p in zip(gated, parities, strict=True)]
    inputs = scalars + cut + gated
    gate_names = names[len(scalars) :]
    if len(gate_names) != len(gated):
        gate_names = gate_names[:1] * len(gated)
    # Order inside the gate's input: as e3nn sorts the blocks of scalars, gates and gated together.
    from e3nn.o3 import Irreps

    order = [Irreps([(b.mul, (b.l, b.p)) for b in blocks]) for blocks in (scalars, gates, gated)]
    together = sum(order, Irreps([]))
    _, position, _ = together.sort()
    sizes = [mul * ir.dim for mul, ir in together]
    starts = [sum(size for size, p in zip(sizes, position, strict=True) if p < own) for own in position]
    n = len(scalars)
    offsets = starts[:n]
    if len(gates) == 1 and len(gated) > 1:
        begin = starts[n]
        for b in gated:
            offsets.append(begin)
            begin += b.mul
    else:
        offsets += starts[n : n + len(gates)]
    offsets += starts[n + len(gates) :]
    return Gate(inputs, n, names[:n] + gate_names), _blocks(module.irreps_in), offsets


def _onto_gate(
    maps: dict[tuple[int, int], np.ndarray], outputs: list[Block], gate: Gate, offsets: list[int]
) -> list[tuple[int, int, np.ndarray]]:
    """Columns of maps onto the gate's own input, cut into its scalars, gates and gated blocks."""
    result = []
    start = 0
    for j, out in enumerate(outputs):
        width = 2 * out.l + 1
        for k, (block, offset) in enumerate(zip(gate.inputs, offsets, strict=True)):
            first = (offset - start) // width
            if (block.l, block.p) == (out.l, out.p) and 0 <= offset - start < out.mul * width:
                for (i, target), matrix in maps.items():
                    if target == j:
                        result.append((i, k, matrix[:, first : first + block.mul]))
        start += out.mul * width
    return result


def _layer(name: str, module: Any, inputs: list[Block], embedding: torch.Tensor) -> Layer:
    _expect(module, "ConvNetLayer", name)
    conv = module.conv
    _expect(conv, "InteractionBlock", f"{name}.conv")
    if module.resnet:
        raise NotFusable(f"{name} adds its input to its output (resnet)")
    for attribute in ("linear_1", "linear_2", "edge_mlp", "sc"):
        if not hasattr(conv, attribute):
            raise NotFusable(f"{name}.conv has no {attribute}: it is of a version of nequip that is not known")
    # nequip 0.7 has the tensor product in the block itself.
    tp = conv.tp_scatter.tp if hasattr(conv, "tp_scatter") else conv.tp
    if _blocks(tp.irreps_in1) != inputs:
        raise NotFusable(f"{name} expects {_show(_blocks(tp.irreps_in1))} but gets {_show(inputs)}")
    dtype = embedding.dtype
    gate, outputs, offsets = _gate(name, module.equivariant_nonlin, dtype)
    norm = _normalisation(name, conv).reshape(-1, 1, 1)
    first = [Mix(i, j, norm * matrix[None]) for (i, j), matrix in _probe(conv.linear_1, inputs, inputs, dtype).items()]
    paths, middle = _paths(name, tp, inputs)
    probed = _probe(conv.linear_2, middle, outputs, dtype)
    second = [Mix(i, k, matrix[None]) for i, k, matrix in _onto_gate(probed, outputs, gate, offsets)]
    connection = []
    if conv.sc is not None:
        maps: dict[tuple[int, int], list[np.ndarray]] = {}
        for row in embedding:

            def connect(x: torch.Tensor, row: torch.Tensor = row) -> torch.Tensor:
                return conv.sc(x, row.expand(len(x), -1))

            for key, matrix in _probe(connect, inputs, outputs, dtype).items():
                maps.setdefault(key, []).append(matrix)
        if any(len(each) != len(embedding) for each in maps.values()):
            raise NotFusable(f"{name}.conv.sc vanishes for some atom types")
        stacked = {key: np.stack(each) for key, each in maps.items()}
        for (i, j), stack in stacked.items():
            pieces = [_onto_gate({(i, j): matrix}, outputs, gate, offsets) for matrix in stack]
            for piece in zip(*pieces, strict=True):
                connection.append(Mix(piece[0][0], piece[0][1], np.stack([matrix for _, _, matrix in piece])))
    matrices, activation = _mlp(conv.edge_mlp, f"{name}.conv.edge_mlp")
    if len(matrices) > 1 and activation[0] != "silu":
        raise NotFusable(f"{name}.conv.edge_mlp has the activation {activation[0]} instead of silu")
    return Layer(inputs, first, paths, middle, second, connection, gate, Radial(matrices))


def _normalisation(name: str, conv: Any) -> np.ndarray:
    """What the sum over edges is multiplied with: one number, or one for each type of the neighbour."""
    if hasattr(conv, "avg_num_neighbors_norm"):  # nequip >= 0.16
        return _array(conv.avg_num_neighbors_norm.norm_const)
    if hasattr(conv, "scatter_norm_factor"):  # nequip 0.8 to 0.15
        factor = conv.scatter_norm_factor
    elif hasattr(conv, "avg_num_neighbors"):  # nequip 0.7
        factor = None if conv.avg_num_neighbors is None else conv.avg_num_neighbors**-0.5
    else:
        raise NotFusable(f"{name}.conv has no normalisation of the kinds that are known")
    return np.array([1.0 if factor is None else float(factor)])


def _paths(name: str, tp: Any, inputs: list[Block]) -> tuple[list[Path], list[Block]]:
    """Paths of the tensor product, and the blocks of its result with neighbours of one irrep merged."""
    parts = [(int(mul), int(ir.l), int(ir.p)) for mul, ir in tp.irreps_out]
    middle: list[Block] = []
    place = []
    slots: list[int] = []
    for mul, order, parity in parts:
        if middle and (middle[-1].l, middle[-1].p) == (order, parity):
            middle[-1] = Block(middle[-1].mul + mul, order, parity)
            slots[-1] += 1
        else:
            middle.append(Block(mul, order, parity))
            slots.append(1)
        place.append((len(middle) - 1, slots[-1] - 1))
    paths, start = [], 0
    for instruction in tp.instructions:
        i, j, k = int(instruction.i_in1), int(instruction.i_in2), int(instruction.i_out)
        if instruction.connection_mode != "uvu" or not instruction.has_weight:
            raise NotFusable(f"{name} has a tensor product of mode {instruction.connection_mode}")
        block = inputs[i]
        count = int(np.prod(instruction.path_shape))
        if count != block.mul or parts[k][0] != block.mul:
            raise NotFusable(f"{name} has a path with {count} weights for {block.mul} channels")
        group, slot = place[k]
        paths.append(
            Path(
                i,
                block.l,
                int(tp.irreps_in2[j].ir.l),
                parts[k][1],
                group,
                slot,
                float(instruction.path_weight),
                slice(start, start + count),
            )  # fmt: skip
        )
        start += count
    return paths, middle
