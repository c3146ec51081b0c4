"""The way of a structure to the device and of an answer back: one copy each, through memory that is page-locked.

Memory that is not page-locked is copied in a detour for which the calling thread waits, and every small copy costs a
launch. So positions and cell go together, and energy, forces and all else come back together.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from .graph import Outputs


class Staging:
    """Structures on a device, for one thread at a time.

    Parameters
    ----------
    device : torch.device
        Where.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        #: Copies made so far, to the device and back.
        self.uploads = 0
        self.downloads = 0
        self._locked = device.type == "cuda"
        self._given: tuple[np.ndarray, np.ndarray] | None = None
        self._host = self._answer = torch.zeros(0, dtype=torch.float64)
        self._row: torch.Tensor
        self._under_way = False

    def __call__(self, positions: np.ndarray, cell: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and cell on the device; the same tensors for the very arrays of the last call.

        Parameters
        ----------
        positions : numpy.ndarray, (n_atoms, 3) float64
            Not changed while the same array is given.
        cell : numpy.ndarray, (3, 3) float64
            Rows are the cell vectors.

        Returns
        -------
        positions : torch.Tensor, (n_atoms, 3) float64
            Their memory is new for each structure.
        cell : torch.Tensor, (3, 3) float64
        """
        n = positions.size
        if self._given is None or self._given[0] is not positions or self._given[1] is not cell:
            # The cell starts at a multiple of 64 bytes: compiled code copies inputs that are not aligned.
            start = math.ceil(n / 8) * 8
            if self._host.numel() != start + 9:
                self._host = self._buffer(start + 9)
            if self._under_way:  # no answer was waited for since: the last copy may still read this memory
                self._wait()
            self._host[:n].copy_(torch.from_numpy(positions).reshape(-1))
            self._host[start:].copy_(torch.from_numpy(cell).reshape(-1))
            self._row = self._host.to(self.device, non_blocking=True, copy=True)
            self._given, self._under_way = (positions, cell), True
            self.uploads += 1
        return self._row[:n].view(-1, 3), self._row[-9:].view(3, 3)

    def fetch(self, outputs: Outputs) -> Outputs:
        """What a model gave, on the host: one copy, for which this waits.

        Parameters
        ----------
        outputs : Outputs
            Float tensors on the device; of a committee with those of its members.

        Returns
        -------
        Outputs
            float64, in memory of their own.
        """
        given = [each.as_dict() for each in (outputs, *outputs.members)]
        values = [value for each in given for value in each.values()]
        packed = torch.cat([value.detach().to(torch.float64).reshape(-1) for value in values])
        if self._answer.numel() != packed.numel():
            self._answer = self._buffer(packed.numel())
        self._answer.copy_(packed, non_blocking=True)
        self._wait()
        self.downloads += 1
        parts = iter(self._answer.clone().split([value.numel() for value in values]))
        fetched = [
            Outputs(**{name: next(parts).view(value.shape) for name, value in each.items()}) for each in given
        ]
        answer = fetched[0]
        answer.members = tuple(fetched[1:])
        return answer

    def _wait(self) -> None:
        if self._locked:
            torch.cuda.current_stream(self.device).synchronize()
        self._under_way = False

    def _buffer(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.float64, pin_memory=self._locked)
