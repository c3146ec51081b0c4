"""What compiling for a GPU needs of the machine: CUDA's headers and libraries, and the right one of several GPUs."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import torch

from ...errors import CompileError

_HEADER = Path("include") / "cuda.h"


def _candidates() -> Iterator[Path]:
    """Folders that may be a CUDA toolkit, as torch looks for them, and then those of NVIDIA's wheels."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(name):
            yield Path(os.environ[name])
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        yield Path(nvcc).resolve().parents[1]
    yield Path("/usr/local/cuda")
    wheels = Path(sysconfig.get_path("purelib")) / "nvidia"
    yield from sorted(wheels.glob("cu[0-9]*"), reverse=True)  # CUDA 13: one folder
    yield wheels / "cuda_runtime"  # CUDA 12: a folder for each part


def cuda_home() -> Path | None:
    """A folder with CUDA's headers, or None."""
    return next((folder for folder in _candidates() if (folder / _HEADER).is_file()), None)


def for_gpu(device: torch.device) -> dict[str, str]:
    """Variables of a process that compiles for a GPU with AOTInductor.

    Parameters
    ----------
    device : torch.device
        A CUDA device of this process.

    Returns
    -------
    dict of str to str
        ``CUDA_HOME``, which Inductor asks for, and the one GPU that the process is to see: the code is made for its
        first, and several may be of several kinds.

    Raises
    ------
    CompileError
        If there is no CUDA toolkit: said before the minutes that a compilation takes.
    """
    variables = {}
    if torch.version.hip is None:
        home = cuda_home()
        if home is None:
            raise CompileError(
                "compiling for a GPU needs CUDA's headers (cuda.h), and there are none: set CUDA_HOME to a CUDA "
                "toolkit, or `pip install` the wheel of CUDA's runtime for your torch (nvidia-cuda-runtime, or -cu12)"
            )
        variables["CUDA_HOME"] = str(home)
    name = "CUDA_VISIBLE_DEVICES" if torch.version.hip is None else "HIP_VISIBLE_DEVICES"
    listed = [entry.strip() for entry in os.environ.get(name, "").split(",") if entry.strip()]
    index = device.index or 0
    variables[name] = listed[index] if index < len(listed) else str(index)
    return variables
