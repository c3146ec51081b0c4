"""The functions that OpenMM's PythonForce and openmmtorch's PythonTorchForce call at every step."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
import torch

from ..errors import ComputationError
from ..kept_error import keep_error
from ..upstream.openmm_state import box_of, positions_of
from .spec import LazyEvaluator


def _explain(error: BaseException) -> ComputationError:
    """The error that OpenMM gets; the one behind it is kept for :func:`openmm_nequip.kept_error.error_behind`."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = f"{type(error).__name__}: {error}\n\n{trace}"
    keep_error(error, text)
    return ComputationError(text)


class Computation(LazyEvaluator):
    """What a PythonForce calls: State in, energy in kJ/mol and forces in kJ/mol/nm out."""

    def __call__(self, state: Any) -> tuple[float, np.ndarray]:
        """Evaluate the model on the State's particles.

        Raises
        ------
        ComputationError
            For any error inside; OpenMM turns it into an OpenMMException with the same text.
        """
        try:
            if self.spec.lambda_name is not None and state.getParameters()[self.spec.lambda_name] == 0.0:
                return 0.0, np.zeros((self.spec.n_particles, 3))
            box = box_of(state) if self.spec.periodic else None
            return self.get()(positions_of(state), box)
        except Exception as error:
            raise _explain(error) from error


class TensorComputation(LazyEvaluator):
    """What a PythonTorchForce calls: State and positions tensor in, energy and forces tensors out."""

    def __call__(self, state: Any, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evaluate the model on the given positions.

        Parameters
        ----------
        state : openmm.State
            Box vectors and global parameters.
        positions : torch.Tensor, (n_particles, 3) float32 or float64
            nm, on the Context's device.

        Returns
        -------
        energy : torch.Tensor, () float64
            kJ/mol.
        forces : torch.Tensor, (n_particles, 3)
            kJ/mol/nm, contiguous and with the dtype and device of ``positions``: the plugin reads its memory as such.
        """
        try:
            if self.spec.lambda_name is not None and state.getParameters()[self.spec.lambda_name] == 0.0:
                return torch.zeros((), dtype=torch.float64), torch.zeros_like(positions, requires_grad=False)
            box = box_of(state) if self.spec.periodic else None
            energy, forces = self.get()(positions.detach().cpu().numpy(), box)
            answer = torch.from_numpy(forces).to(device=positions.device, dtype=positions.dtype).contiguous()
            return torch.tensor(energy, dtype=torch.float64), answer
        except Exception as error:
            raise _explain(error) from error
