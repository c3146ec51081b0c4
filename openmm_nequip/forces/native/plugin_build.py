"""The C++ of our force, compiled against the OpenMM that is installed: by the user's compiler, once, and kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import openmm
import openmm.version

from ...cache import find, keep, key_of, scratch, shelf
from ...cxx import find_compiler, missing_compiler
from ...errors import BuildError
from ...kernels.cpu.build import compiler_version
from ...progress import run_program

_HERE = Path(__file__).parent
_TIMEOUT_S = 600.0
_FLAGS = ("-std=c++17", "-O2", "-shared", "-fPIC", "-w")
_HEADERS = ("native_force.hpp", "gpu_arrays.hpp", "gpu_run.hpp")
#: The library of the force itself, by which those of platforms find it when they are loaded.
FORCE_LIBRARY = "libopenmm_nequip_force.so"


@dataclass(frozen=True)
class GpuPlatform:
    """A platform of GPUs.

    Parameters
    ----------
    name : str
        OpenMM's name of it.
    folder, class_name, library : str
        Where its header is, its class, and the library it is in.
    """

    name: str
    folder: str
    class_name: str
    library: str


#: Platforms that have kernels in the common dialect.
GPU_PLATFORMS = (
    GpuPlatform("CUDA", "cuda", "CudaPlatform", "OpenMMCUDA"),
    GpuPlatform("HIP", "hip", "HipPlatform", "OpenMMHIP"),
    GpuPlatform("OpenCL", "opencl", "OpenCLPlatform", "OpenMMOpenCL"),
)


def library_folder() -> Path:
    """Where OpenMM's own libraries are."""
    return Path(openmm.version.openmm_library_path)


@cache
def headers_folder() -> Path | None:
    """Where OpenMM's headers are, those of the common platform among them; None if they are not installed."""
    folder = library_folder().parent / "include"
    wanted = ("OpenMM.h", "openmm/common/ComputeContext.h", "openmm/reference/ReferencePlatform.h")
    return folder if all((folder / name).exists() for name in wanted) else None


def build_obstacle() -> str:
    """Why the force cannot be compiled here, with the cure; empty if it can."""
    if os.name != "posix":
        return "our force for OpenMM is compiled on Linux and macOS alone"
    if headers_folder() is None:
        return (
            f"OpenMM's headers are not beside its libraries ({library_folder()}); install OpenMM from PyPI or "
            "conda-forge, which have them"
        )
    return "" if find_compiler() else missing_compiler()


def platform_library(platform: GpuPlatform) -> Path | None:
    """The library of a platform as OpenMM has loaded it; None if it has not."""
    for name in openmm.pluginLoadedLibNames:
        path = Path(name)
        if path.name.startswith(f"lib{platform.library}."):
            return path
    return None


def build_force() -> Path:
    """The library of the force.

    Raises
    ------
    BuildError
        If it cannot be compiled.
    """
    return _build("force", "native_force.cpp", (f"-Wl,-soname,{FORCE_LIBRARY}",), library_folder(), "OpenMM")


def build_platform(platform: GpuPlatform, library: Path) -> Path:
    """The library of our kernels for a platform.

    Parameters
    ----------
    platform : GpuPlatform
        Which one.
    library : pathlib.Path
        OpenMM's library of it.

    Raises
    ------
    BuildError
        If it cannot be compiled.
    """
    defines = (
        f'-DPLATFORM_NAME="{platform.name}"',
        f'-DPLATFORM_HEADER="openmm/{platform.folder}/{platform.class_name}.h"',
        f"-DPLATFORM_CLASS={platform.class_name}",
    )
    # What it needs of the force is found in the force's library, which is loaded before with its names for all.
    return _build(platform.name, "gpu_force.cpp", defines, library.parent, platform.library)


def _build(name: str, source: str, flags: tuple[str, ...], folder: Path, library: str) -> Path:
    """A library in the cache folder, compiled now unless that was done before."""
    if obstacle := build_obstacle():
        raise BuildError(obstacle)
    compiler, headers = find_compiler() or [], headers_folder()
    shared = library_folder()
    texts = [(_HERE / file).read_text(encoding="utf-8") for file in (source, *_HEADERS)]
    command = [*_FLAGS, _abi(shared), f"-I{headers}", *flags]
    links = [f"-L{shared}", f"-L{folder}", "-lOpenMM", f"-Wl,-rpath,{shared}", f"-Wl,-rpath,{folder}"]
    links += [f"-l{library}"] if library != "OpenMM" else []
    made_of = {"text": texts, "command": command + links}
    facts = made_of | {"openmm": openmm.version.full_version, "compiler": compiler_version()}
    try:
        kept, key = shelf("native"), f"{name}-{key_of(facts)}"
        found = find(kept, key, ".so")
        if found is not None:
            return found[0]
        with scratch(kept, "force") as work:
            output = work / "made.so"
            _run([*compiler, *command, "-o", str(output), str(_HERE / source), *links], work)
            return keep(kept, key, ".so", output.read_bytes())
    except OSError as error:
        raise BuildError(f"the cache folder cannot be used: {error}") from error


def _run(command: list[str], work: Path) -> None:
    what = "Compiling our force for OpenMM: some seconds, once; the result is kept"
    try:
        with open(work / "log", "w+b") as output:
            environment = dict(os.environ, TMPDIR=str(work))
            code = run_program(command, what, output, environment, timeout_s=_TIMEOUT_S, scratch=work)
            output.seek(0)
            text = output.read().decode(errors="replace")
    except TimeoutError as error:
        raise BuildError(f"{command[0]} did not finish: {error}") from error
    if code:
        errors = [line for line in text.splitlines() if "error" in line] or text.splitlines()
        raise BuildError(f"{command[0]} ended with code {code}: {errors[0] if errors else 'no message'}")


def _abi(folder: Path) -> str:
    """The flag for the kind of std::string that OpenMM was compiled with."""
    for name in ("libOpenMM.so", "libOpenMM.dylib"):
        if (folder / name).exists():
            return f"-D_GLIBCXX_USE_CXX11_ABI={int(b'cxx11' in (folder / name).read_bytes())}"
    raise BuildError(f"there is no libOpenMM in {folder}; reinstall OpenMM")
