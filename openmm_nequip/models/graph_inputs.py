"""Inputs of a model beside the structure: one number for the whole graph, such as a total charge, spin or data set.

A potential in OpenMM has one structure and one value of each, so the value is a part of how the model is run
(:class:`openmm_nequip.models.execution.Execution`). Where nequip embeds it beside the atom types, it is folded into
their embedding: the model becomes one that knows types alone, which compiles, fuses and runs as every other.

References
----------
``NodeTypeEmbed`` in ``nn/embedding/node.py`` and ``GraphModel`` in ``nn/graph_model.py`` of nequip.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from ..errors import ModelInputError
from ..graph.fields import LARGER_INPUTS, POSITIONS, STRUCTURE_FIELDS, WHOLE_INPUTS

#: Values by name, in the order of the names: hashable. A value is a number, or a tuple of one for each atom.
InputValues = tuple[tuple[str, Any], ...]

_EMBED = "NodeTypeEmbed"


class GraphInput(NamedTuple):
    """An input of a model beside the structure.

    Parameters
    ----------
    name : str
        nequip's name of the field.
    lowest, highest : int or None
        Range of the whole numbers that the model embeds; None where it states none.
    optional : bool
        Whether the model runs without a value.
    per_atom : bool
        Whether each atom may have a value of its own.
    """

    name: str
    lowest: int | None = None
    highest: int | None = None
    optional: bool = False
    per_atom: bool = False

    @property
    def sample(self) -> int:
        """A value that it takes."""
        return 0 if self.lowest is None or self.highest is None else min(max(0, self.lowest), self.highest)

    def __str__(self) -> str:
        if self.per_atom:
            return f"{self.name} (one number for each atom, or one for all)"
        if self.optional:
            return f"{self.name} (one {'whole ' * (self.name in WHOLE_INPUTS)}number; may be left out)"
        if self.name in LARGER_INPUTS:
            return f"{self.name} (not one number: cannot be given here)"
        if self.lowest is None:
            return f"{self.name} (one {'whole ' * (self.name in WHOLE_INPUTS)}number)"
        return f"{self.name} (whole numbers from {self.lowest} to {self.highest})"


def parse_inputs(given: Mapping[str, Any] | Iterable[Sequence[Any]] | None) -> InputValues:
    """Values as a user gives them, checked as far as they can be without the model.

    Parameters
    ----------
    given : mapping of str to number, or pairs of these, or None
        Values by name.

    Returns
    -------
    tuple of (str, int or float)
        In the order of the names.

    Raises
    ------
    TypeError
        If it is no mapping from names to single numbers.
    ModelInputError
        If a value is not finite.
    """
    if given is None:
        return ()
    if isinstance(given, str) or not isinstance(given, (Mapping, list, tuple)):
        raise TypeError(f"modelInputs={given!r}: give names and numbers, such as {{'charge': 1}}")
    try:
        values = dict(given)
    except (TypeError, ValueError):
        raise TypeError(f"modelInputs={given!r}: give names and numbers, such as {{'charge': 1}}") from None
    return tuple(sorted((_name(name), _number(name, value)) for name, value in values.items()))


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise TypeError(f"modelInputs: {name!r} is no name of an input; give a text, such as 'charge'")
    return name


def _number(name: str, value: Any) -> Any:
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(_number(name, each) for each in value)  # one for each atom
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"modelInputs: {name}={value!r} is a {type(value).__name__}; give one number")
    if isinstance(value, numbers.Integral):
        return int(value)
    if not math.isfinite(value):
        raise ModelInputError(f"modelInputs: {name}={value!r} is not finite; give a finite number", name)
    return float(value)


def check_inputs(wanted: Sequence[GraphInput], given: InputValues, path: str) -> None:
    """Refuse values that a model does not take, and a model without the values that it needs.

    Parameters
    ----------
    wanted : sequence of GraphInput
        What the model takes.
    given : tuple of (str, number)
        As :func:`parse_inputs` makes them.
    path : str
        The model file, for the message.

    Raises
    ------
    ModelInputError
        If a value is missing, not known to the model, or out of its range, or if the model takes more than numbers.
    TypeError
        If several values are given for one number.
    """
    values, known = dict(given), {each.name: each for each in wanted}
    for name in known:
        if name in LARGER_INPUTS:
            raise ModelInputError(
                f"{path} takes {name!r}, which has a value for each atom or several components; here models get the "
                "structure and single numbers such as a charge. Run it with nequip's own calculator, or train a model "
                "without this input",
                name,
            )
    for name, value in values.items():
        if name not in known:
            takes = ", ".join(map(str, wanted)) or "none beside the structure"
            raise ModelInputError(f"{path} has no input {name!r}; its inputs: {takes}", name)
        _check_range(known[name], value, path)
    for name, each in known.items():
        if name not in values and not each.optional:
            raise ModelInputError(
                f"{path} needs the input {each} beside the structure, and no value was given: give "
                f"modelInputs={{{name!r}: {each.sample}}} (in Python) or --input {name}={each.sample} (on the command "
                "line)",
                name,
            )


def share_inputs(wanted: Sequence[Sequence[GraphInput]], given: Any) -> list[InputValues]:
    """Values for each of several models in one System.

    Parameters
    ----------
    wanted : sequence of sequence of GraphInput
        What each model takes.
    given : mapping, or sequence of mapping, or None
        One for all, of which each model gets the values that it knows, or one for each.

    Returns
    -------
    list of tuple of (str, number)
        A value that no model knows goes to all, for :func:`check_inputs` to refuse.

    Raises
    ------
    ModelInputError
        If there are more or fewer mappings than models.
    TypeError
        As :func:`parse_inputs`.
    """
    if isinstance(given, (list, tuple)) and all(isinstance(each, Mapping) for each in given):
        if len(given) != len(wanted):
            raise ModelInputError(f"modelInputs has {len(given)} mappings for {len(wanted)} models; give one for each")
        return [parse_inputs(each) for each in given]
    values, known = parse_inputs(given), {each.name for inputs in wanted for each in inputs}
    shares = []
    for inputs in wanted:
        own = {each.name for each in inputs}
        shares.append(tuple(pair for pair in values if pair[0] in own or pair[0] not in known))
    return shares


def _check_range(wanted: GraphInput, value: Any, path: str) -> None:
    if isinstance(value, tuple):
        if wanted.per_atom:
            return
        raise TypeError(f"modelInputs: {wanted.name}={list(value)} is a list, and {path} takes {wanted}")
    ranged = wanted.lowest is not None and wanted.highest is not None
    if ranged and not wanted.lowest <= value <= wanted.highest:  # type: ignore[operator]
        raise ModelInputError(f"{path} takes {wanted}, and {wanted.name}={value!r} was given", wanted.name)
    if (ranged or wanted.name in WHOLE_INPUTS) and value != int(value):
        raise ModelInputError(f"{path} takes {wanted}, and {wanted.name}={value!r} was given", wanted.name)


def inputs_of_fields(fields: Iterable[str], embedded: Mapping[str, tuple[int, int]]) -> tuple[GraphInput, ...]:
    """Inputs of a model from the names of all that it takes.

    Parameters
    ----------
    fields : iterable of str
        nequip's ``model_input_fields``.
    embedded : mapping of str to (int, int)
        Lowest and highest value of each field that is embedded as a category.

    Returns
    -------
    tuple of GraphInput
        In the order of their names.
    """
    return tuple(GraphInput(name, *embedded.get(name, ())) for name in sorted({*fields, *embedded} - STRUCTURE_FIELDS))


def inputs_of(module: Any) -> tuple[GraphInput, ...]:
    """Inputs of a loaded model beside the structure.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's GraphModel.

    Returns
    -------
    tuple of GraphInput
    """
    embedded = {}
    for embed in _embeddings(module):
        for name, table in embed.categorical_graph_field_embed_modules.items():  # also those folded by now
            lowest = int(embed.categorical_graph_field_embed_shifts[name])
            embedded[name] = lowest, lowest + int(table.num_embeddings) - 1
    return inputs_of_fields(getattr(module, "model_input_fields", ()), embedded)


def _embeddings(module: Any) -> list[Any]:
    """Embeddings of types that embed something else beside them."""
    found = [part for part in module.modules() if type(part).__name__ == _EMBED]
    return [part for part in found if len(getattr(part, "categorical_graph_field_embed_modules", ()))]


def as_tensor(name: str, value: int | float, whole: bool) -> torch.Tensor:
    """A value as nequip's models take it: (1, 1), int64 for what they hold as whole numbers, else float64."""
    return torch.tensor([[value]], dtype=torch.int64 if whole or name in WHOLE_INPUTS else torch.float64)


def as_tensors(inputs: Sequence[GraphInput], values: InputValues) -> dict[str, torch.Tensor]:
    """Values as nequip's models take them.

    Parameters
    ----------
    inputs : sequence of GraphInput
        What the model says of them.
    values : tuple of (str, number)
        As :func:`parse_inputs` makes them.

    Returns
    -------
    dict of str to torch.Tensor, (1, 1)
    """
    ranged = {each.name for each in inputs if each.lowest is not None}
    return {name: as_tensor(name, value, name in ranged) for name, value in values}


def fix_inputs(module: Any, values: InputValues) -> None:
    """Make a model one with given inputs, in place: afterwards it takes the structure alone.

    Parameters
    ----------
    module : torch.nn.Module
        nequip's GraphModel on the CPU.
    values : tuple of (str, number)
        Checked by :func:`check_inputs`.
    """
    if not values:
        return
    module.register_forward_pre_hook(_Giver(as_tensors(inputs_of(module), values)))
    for embed in _embeddings(module):
        _fold(embed, dict(values))


class _Giver:
    """Puts the values into what a GraphModel is called with: for parts that read them beside the embedding."""

    def __init__(self, values: Mapping[str, torch.Tensor]) -> None:
        self.values = {name: (value.item(), value.dtype) for name, value in values.items()}

    def __call__(self, module: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        data, *others = arguments
        device = data[POSITIONS].device
        # Made here, not kept: a tensor of the hook would not follow the module to another device.
        fixed = {name: torch.full((1, 1), v, dtype=dtype, device=device) for name, (v, dtype) in self.values.items()}
        return ({**data, **fixed}, *others)


def _fold(embed: Any, values: Mapping[str, int | float]) -> None:
    """Append the rows of the values to the row of each type, in the order in which nequip concatenates them."""
    types = embed.embed_module.weight
    rows = [types]
    for name, table in embed.categorical_graph_field_embed_modules.items():
        row = table.weight[int(values[name]) - int(embed.categorical_graph_field_embed_shifts[name])]
        rows.append(row.expand(len(types), -1))
    embed.embed_module = torch.nn.Embedding.from_pretrained(torch.cat(rows, dim=1).detach(), freeze=True)
    embed.do_categorical_graph_field_embed = False
