"""λ for openmmtools: a composable state, in a module of its own since importing it imports openmmtools."""

from __future__ import annotations

from typing import Any

from .errors import UnavailableError
from .free_energy.end_states import LAMBDA_NAME

try:
    from openmmtools.states import GlobalParameterState
except ImportError as error:
    raise UnavailableError(
        "the state of λ needs openmmtools, which is not installed: pip install 'openmm-nequip[openmmtools]'"
    ) from error


def _checked(descriptor: Any, instance: Any, new_value: float | None) -> float | None:
    """A λ, or None where it is not controlled."""
    if new_value is not None and not 0.0 <= new_value <= 1.0:
        raise ValueError(
            f"λ = {new_value!r} lies outside 0 (the force field) to 1 (the model), where the energy is not defined"
        )
    return new_value


class LambdaState(GlobalParameterState):
    """The parameter λ of a hybrid System made with ``interpolate=True``, for a ``CompoundThermodynamicState``.

    With it the System goes into openmmtools' samplers: ``MultiStateSampler``, ``ReplicaExchangeSampler``. Their storage
    names this class by its module, so a restart finds it in any process, which it does not for a class of a script.

    Parameters
    ----------
    parameters_name_suffix : str, optional
        Of the parameter's name.
    lambda_interpolate : float, optional
        From 0 (force field) to 1 (model).

    Raises
    ------
    ValueError
        If λ is outside 0 to 1.
    """

    lambda_interpolate = GlobalParameterState.GlobalParameter(LAMBDA_NAME, standard_value=1.0, validator=_checked)
