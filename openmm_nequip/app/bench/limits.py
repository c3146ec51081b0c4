"""What fits: memory and time that a contender will need for a size, told from the sizes before."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .figures import FEWEST_SAMPLES

#: Share of the free memory that may be used, and what is added to an estimate.
USABLE = 0.8
MARGIN = 1.2
#: Share of a size's budget that warming up and the fewest samples of one contender may take.
BUDGET_SHARE = 1 / 3
BYTES_PER_GIB = 2**30
_WARM_UP = 2
_PROC = Path("/proc/self")
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Usage:
    """What one size took.

    Parameters
    ----------
    atoms : int
        Size.
    seconds : float
        One step.
    memory : int, optional
        Bytes by which the process, or the GPU's use, had grown at most; None where that cannot be told.
    """

    atoms: int
    seconds: float
    memory: int | None


@dataclass
class Limits:
    """Memory and time per size, by contender.

    Parameters
    ----------
    budget : float
        Seconds for one size.
    """

    budget: float
    _known: dict[str, list[Usage]] = field(default_factory=dict)

    def learn(self, name: str, usage: Usage) -> None:
        """Note what a size took.

        Parameters
        ----------
        name : str
            The contender.
        usage : Usage
            Time and memory.
        """
        self._known.setdefault(name, []).append(usage)

    def knows(self, name: str) -> bool:
        """Whether anything is known."""
        return bool(self._known.get(name))

    def refusal(self, name: str, atoms: int, device: str) -> str:
        """Why a size must not be tried.

        Parameters
        ----------
        name : str
            The contender.
        atoms : int
            The size.
        device : str
            Torch device whose memory it needs.

        Returns
        -------
        str
            Empty if it may be tried.
        """
        known = sorted(self._known.get(name, []), key=lambda usage: usage.atoms)
        if not known:
            return ""
        seconds = known[-1].seconds * max(1.0, atoms / known[-1].atoms)
        if self.too_slow(seconds):
            return self.explain_slow(seconds, estimated=True)
        needed, free = _memory(known, atoms), free_bytes(device)
        if needed is None or free is None or needed <= USABLE * free:
            return ""
        wanted, there = needed / BYTES_PER_GIB, free / BYTES_PER_GIB
        return f"{atoms} atoms would need about {wanted:.1f} GiB of memory, and {there:.1f} are free"

    def too_slow(self, seconds: float) -> bool:
        """Whether the fewest samples of a step of so many seconds take too much of the budget of a size."""
        return (FEWEST_SAMPLES + _WARM_UP) * seconds > BUDGET_SHARE * self.budget

    def needed(self, seconds: float) -> float:
        """A budget, in seconds, that is enough."""
        return math.ceil(1.1 * (FEWEST_SAMPLES + _WARM_UP) * seconds / BUDGET_SHARE)

    def explain_slow(self, seconds: float, estimated: bool = False) -> str:
        """Why someone is too slow, in words.

        Parameters
        ----------
        seconds : float
            Time of a step.
        estimated : bool
            Whether that was not measured.

        Returns
        -------
        str
        """
        about = "would take about" if estimated else "takes"
        return (
            f"a step {about} {seconds:.3g} s: too long for {FEWEST_SAMPLES} samples in one contender's share of the "
            f"budget of {self.budget:g} s; --budget {self.needed(seconds):.0f} allows it"
        )


def _memory(known: list[Usage], atoms: int) -> int | None:
    """Bytes that a size will need, on the line through the last two sizes."""
    rows = [(usage.atoms, usage.memory) for usage in known if usage.memory is not None]
    if not rows:
        return None
    last_atoms, last = rows[-1]
    if atoms <= last_atoms:
        return last
    slope = last / last_atoms
    if len(rows) > 1 and last_atoms > rows[-2][0] and last > rows[-2][1]:
        slope = (last - rows[-2][1]) / (last_atoms - rows[-2][0])
    return int(MARGIN * (last + slope * (atoms - last_atoms)))


def free_bytes(device: str = "cpu") -> int | None:
    """Memory in bytes that this process can still get, of the machine, the container or the GPU; None if unknown."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with contextlib.suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text(encoding="ascii"))  # "max" where there is no limit
        found.append(most - int((_CGROUP / "memory.current").read_text(encoding="ascii")))
    return max(0, min(found)) if found else None


class Growth:
    """By how much memory had grown at most, in bytes; None where that cannot be told."""

    def __init__(self) -> None:
        self.bytes: int | None = None


@contextlib.contextmanager
def watched(device: str) -> Iterator[Growth]:
    """Watch the memory of this process, or of torch on a GPU, while the block runs."""
    growth = Growth()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield growth
        growth.bytes = torch.cuda.max_memory_allocated(device) - before
        return
    # What was freed goes back to the system first, or the next one's growth would hide in it.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    now = None
    with contextlib.suppress(OSError):
        (_PROC / "clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
        now = _status("VmRSS:")
    yield growth
    peak = None if now is None else _status("VmHWM:")
    growth.bytes = None if peak is None or now is None else max(0, peak - now)


def _status(key: str) -> int | None:
    try:
        lines = (_PROC / "status").read_text(encoding="ascii", errors="replace").splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(key)))
    except (OSError, ValueError, StopIteration):
        return None
