"""NequIPCalculator on files that its public constructors do not take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def eager_calculator(path: str, device: str, energy_units_to_eV: float) -> Any:
    """NequIPCalculator that evaluates a checkpoint or package eagerly.

    Borrowed: ``NequIPCalculator._from_saved_model`` of nequip 0.19, which its public constructors for saved models call
    after a warning, and only with compilation. Test: ``tests/test_bench.py``.

    Parameters
    ----------
    path : str
        Checkpoint or package, with the suffix that nequip expects.
    device : str
        Torch device.
    energy_units_to_eV : float
        One model energy in eV.

    Returns
    -------
    nequip.integrations.ase.NequIPCalculator

    Raises
    ------
    UpstreamError
        If the installed nequip has no such method.
    """
    from nequip.integrations.ase import NequIPCalculator

    load = getattr(NequIPCalculator, "_from_saved_model", None)
    if load is None:
        raise _gone("NequIPCalculator._from_saved_model")
    return load(path, device=device, chemical_species_to_atom_type_map=True, energy_units_to_eV=energy_units_to_eV)


def torch_sim_model(path: str, device: str) -> Any:
    """nequip's model class for torch-sim, evaluating a checkpoint or package eagerly.

    Borrowed: ``NequIPTorchSimCalc._from_saved_model`` of nequip 0.19, as :func:`eager_calculator` does. Test:
    ``tests/test_parity_command.py``, where torch-sim is installed.

    Parameters
    ----------
    path : str
        Checkpoint or package, with the suffix that nequip expects.
    device : str
        Torch device.

    Returns
    -------
    nequip.integrations.torchsim.NequIPTorchSimCalc

    Raises
    ------
    UpstreamError
        If the installed nequip has no such class or method.
    """
    try:
        from nequip.integrations.torchsim import NequIPTorchSimCalc
    except ImportError as error:
        raise _gone(str(error)) from error
    load = getattr(NequIPTorchSimCalc, "_from_saved_model", None)
    if load is None:
        raise _gone("NequIPTorchSimCalc._from_saved_model")
    return load(path, device=device, chemical_species_to_atom_type_map=True, neighborlist_backend="matscipy")


def calculator_on_package(
    path: str, device: str, inputs: Sequence[str], outputs: Sequence[str], energy_units_to_eV: float
) -> Any:
    """NequIPCalculator on a file compiled with another set of outputs than its own constructor wants.

    Borrowed: ``basic_transforms`` of ``nequip.integrations.utils`` and ``load_compiled_model`` of
    ``nequip.model.inference_models``, both of nequip 0.19, of which NequIPCalculator makes itself. Test:
    ``tests/test_bench.py``.

    Parameters
    ----------
    path : str
        A ``.nequip.pt2`` file.
    device : str
        Torch device.
    inputs, outputs : sequence of str
        nequip's names of the fields that the file takes and gives.
    energy_units_to_eV : float
        One model energy in eV.

    Returns
    -------
    nequip.integrations.ase.NequIPCalculator

    Raises
    ------
    UpstreamError
        If the installed nequip has no such functions.
    """
    from nequip.integrations.ase import NequIPCalculator

    try:
        from nequip.integrations.utils import basic_transforms
        from nequip.model.inference_models import load_compiled_model
    except ImportError as error:
        raise _gone(str(error.name)) from error
    model, metadata = load_compiled_model(path, device, list(inputs), list(outputs))
    names = metadata["type_names"]
    transforms = basic_transforms(metadata, metadata["r_max"], names, {name: name for name in names})
    return NequIPCalculator(model=model, device=device, transforms=transforms, energy_units_to_eV=energy_units_to_eV)


def _gone(what: str) -> Exception:
    from ..errors import UpstreamError

    return UpstreamError(f"{what} is not there in the installed nequip; known to work: nequip 0.19", "nequip")
