"""OpenCL on the CPU for one process: pocl and a loader from wheels of the extra ``test``, never for the whole system.

OpenMM takes whatever OpenCL a process can find, also where it is a CPU; so nothing here is installed where others find it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
#: A library that OpenMM's OpenCL platform is linked to, under the name that it is looked for.
_LOADER = "libOpenCL.so.1"


def _package(name: str) -> Path | None:
    found = importlib.util.find_spec(name)  # found, not imported: pyopencl would load what the process is not to have
    places = list(found.submodule_search_locations or ()) if found else []
    return Path(places[0]) if places else None


def pocl_environment(folder: Path) -> dict[str, str] | str:
    """Variables for a process with pocl; or why there are none.

    Parameters
    ----------
    folder : pathlib.Path
        Gets a link and a file, and pocl's cache.
    """
    loader, driver = _package("pyopencl"), _package("pocl_binary_distribution")
    if loader is None or driver is None:
        return "pocl is not installed: pip install pocl-binary-distribution pyopencl"
    loaders = [*loader.glob(".libs/libOpenCL*"), *loader.parent.glob("pyopencl.libs/libOpenCL*")]
    drivers = sorted((driver.parent / "pyopencl" / ".libs").glob("libpocl*"))
    if not loaders or not drivers:
        return f"the wheels of pyopencl and pocl-binary-distribution in {loader.parent} have no libOpenCL and libpocl"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / _LOADER
    if not link.is_symlink():
        link.symlink_to(loaders[0])
    (folder / "pocl.icd").write_text(f"{drivers[0]}\n")
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]))
    return dict(
        os.environ, OCL_ICD_VENDORS=str(folder), LD_LIBRARY_PATH=path, POCL_CACHE_DIR=str(folder / "kernels"),
        POCL_AFFINITY="0",
    )


class Worker:
    """A process that runs ``native_cases.py`` with pocl."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "native_worker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True, env=environment,
        )

    def __call__(self, case: str, **arguments):
        """The answer of a case; an error of the process is one here."""
        self._process.stdin.write(json.dumps({"case": case, "arguments": arguments}) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("@"):
                reply = json.loads(line[1:])
                if "error" in reply:
                    raise RuntimeError(reply["error"])
                return reply["answer"]
        self._errors.seek(0)
        raise RuntimeError(f"the process ended with {self._process.wait()}: {self._errors.read()[-2000:]}")

    def close(self):
        self._process.stdin.close()
        self._process.wait(60)
