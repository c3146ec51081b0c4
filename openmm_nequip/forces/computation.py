"""The functions that OpenMM's PythonForce and openmmtorch's PythonTorchForce call at every step."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..cuda_driver import on_device
from ..errors import ComputationError, NonFiniteError
from ..kept_error import keep_error
from ..upstream.openmm_state import box_of, positions_of
from .live import LIVE
from .pool import EvaluatorPool
from .saved import RESTORED, STATE, TENSOR, VERSION, SavedPotential, restore, sealed
from .spec import PotentialSpec, SumSpec, to_plain


def explain(error: BaseException) -> ComputationError:
    """The error that OpenMM gets; the one behind it is kept, see :func:`openmm_nequip.kept_error.error_behind`."""
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text = f"{type(error).__name__}: {error}\n\n{trace}"
    keep_error(error, text)
    return ComputationError(text)


def _same_box(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    """Whether two boxes (3, 3), or the absence of one, are the same."""
    return a is b or (a is not None and b is not None and np.array_equal(a, b))


class LazyEvaluator:
    """An evaluator that is opened at its first use; pickles as a :class:`~openmm_nequip.forces.saved.SavedPotential`.

    Parameters
    ----------
    spec : PotentialSpec or SumSpec
        What to open.
    particles : sequence of int, optional
        System index of each particle that the force is given, for messages; all in order by default.
    """

    #: How OpenMM calls it.
    call = STATE

    def __init__(self, spec: PotentialSpec | SumSpec, particles: Sequence[int] | None = None) -> None:
        self.spec = spec
        self.particles = None if particles is None else [int(i) for i in particles]
        self._evaluator: EvaluatorPool | None = None
        #: Positions, box and answer of the last evaluation, where a global parameter may ask for the same again.
        self._last: tuple[np.ndarray, np.ndarray | None, tuple[float, np.ndarray]] | None = None
        self._lock = threading.Lock()
        LIVE.add(self)

    def forget_lists(self) -> None:
        """Drop the neighbour lists that were kept, if the model was opened; see :mod:`.live`."""
        self._last = None
        if self._evaluator is not None:
            self._evaluator.forget_lists()

    def get(self) -> EvaluatorPool:
        """The evaluators, the first opened now if this is the first call in this process."""
        if self._evaluator is None:
            with self._lock:
                if self._evaluator is None:
                    self._evaluator = EvaluatorPool(self.spec.open)
        return self._evaluator

    def evaluate(self, positions: np.ndarray, box: np.ndarray | None) -> tuple[float, np.ndarray]:
        """The model's answer; at other values of the global parameter that of the same positions is not made again.

        The parameter weighs the answer outside this force. Whoever wants the energy of one frame at many values, as
        replica exchange and MBAR do, pays for one evaluation.

        Parameters
        ----------
        positions : numpy.ndarray, (n_particles, 3) float64
            nm.
        box : numpy.ndarray, (3, 3) float64, or None
            nm.

        Returns
        -------
        tuple of float and numpy.ndarray, (n_particles, 3)
            kJ/mol and kJ/mol/nm.
        """
        if self.spec.lambda_name is None:
            return self.get()(positions, box)
        last = self._last
        if last is not None and np.array_equal(last[0], positions) and _same_box(last[1], box):
            return last[2]
        answer = self.get()(positions, box)
        # Copies: the arrays may be those of a State. One tuple, so that threads see the three together.
        self._last = positions.copy(), None if box is None else box.copy(), (answer[0], answer[1].copy())
        return answer

    def saved(self) -> SavedPotential:
        """The saved form; whoever restores it in this process gets this very object."""
        data = {"call": self.call, "parts": to_plain(self.spec), "particles": self.particles}
        saved = SavedPotential(VERSION, sealed(data))
        RESTORED.add(saved, self)
        return saved

    def is_off(self, state: Any) -> bool:
        """Whether the global parameter switches the model off.

        Raises
        ------
        ValueError
            If the parameter is not between 0 and 1.
        """
        name = self.spec.lambda_name
        value = state.getParameters()[name]
        if not 0.0 <= value <= 1.0:
            raise ValueError(
                f"the parameter {name} is {value!r}; expected a number from 0 (the force field) to 1 (the model)"
            )
        return value == 0.0

    def explain(self, error: BaseException) -> ComputationError:
        """What is raised to OpenMM for an error inside: its text and traceback, with atoms by their System index."""
        if isinstance(error, NonFiniteError) and self.particles is not None:
            named = [self.particles[i] for i in error.indices]
            error = type(error)(error.what, named, error.n_atoms).with_traceback(error.__traceback__)
        return explain(error)

    def __reduce__(self) -> tuple[Any, ...]:
        return restore, tuple(self.saved())

    def __setstate__(self, spec: PotentialSpec | SumSpec) -> None:
        """Read what release 0.1 pickled."""
        self.__init__(spec)  # type: ignore[misc]


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
            if self.spec.lambda_name is not None and self.is_off(state):
                return 0.0, np.zeros((self.spec.n_particles, 3))
            box = box_of(state) if self.spec.periodic else None
            return self.evaluate(positions_of(state), box)
        except Exception as error:
            raise self.explain(error) from error


class TensorComputation(LazyEvaluator):
    """What a PythonTorchForce calls: State and positions tensor in, energy and forces tensors out."""

    call = TENSOR

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
            if self.spec.lambda_name is not None and self.is_off(state):
                return torch.zeros((), dtype=torch.float64), torch.zeros_like(positions, requires_grad=False)
            box = box_of(state) if self.spec.periodic else None
            # The plugin copies in OpenMM's context, torch in its own: nothing but waiting orders the two.
            with on_device(positions.device):
                energy, forces = self.evaluate(positions.detach().cpu().numpy(), box)
                answer = torch.from_numpy(forces).to(device=positions.device, dtype=positions.dtype).contiguous()
                if answer.device.type == "cuda":
                    torch.cuda.synchronize(answer.device)
            return torch.tensor(energy, dtype=torch.float64), answer
        except Exception as error:
            raise self.explain(error) from error
