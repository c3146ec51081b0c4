"""The benchmark: size after size, everyone in turn, saved after each size."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ...cache import write_atomically
from ...choices import BACKENDS, GPU_PLATFORMS, NATIVE
from ...evaluate.placement import Placement
from ...files import folder_obstacle
from ...forces import choose_backend
from ...forces.native.gpu_devices import platforms_with_gpu
from ...forces.spec import PotentialSpec
from ...models import ModelInfo, can_fuse, locate, read_info
from ...models.units_in_force import units_of
from ...options import skin_in_nm
from ..platforms import sensible_platforms
from .bench_environment import describe_environment
from .bench_picture import draw
from .bench_report import table
from .bench_settings import DEFAULT_OUTPUT, BenchSettings
from .bench_systems import build_system
from .contenders import Contender, Subject, bare, device_of, ours, own_force
from .limits import Limits
from .one_size import measure_size, reason_of
from .peers import make_peers
from .precision import describe_precision

logger = logging.getLogger(__name__)

MODEL = "alanine-dipeptide.nequip.zip"
DOCUMENT = "bench.json"
PICTURE = "bench.png"
#: Platforms from the fastest; peers get the first that is asked for.
_FASTEST = (*GPU_PLATFORMS, "CPU", "Reference")


class BenchOutcome(NamedTuple):
    """What a benchmark found."""

    document: dict[str, Any]  #: what ``bench.json`` holds
    text: str  #: the same as a table
    folder: Path  #: where the files are
    disagreements: list[str]  #: contenders whose energies or forces are not the others'


def run_bench(settings: BenchSettings, stop: Callable[[], bool] = lambda: False) -> BenchOutcome:
    """Measure MD steps of one model, by this package and others, interleaved in this process.

    Parameters
    ----------
    settings : BenchSettings
        What to measure.
    stop : callable
        Whether to end before the next sample; what was measured until then is kept.

    Returns
    -------
    BenchOutcome
        Also written: ``bench.json`` after each size, and ``bench.png``.

    Raises
    ------
    ModelFileError
        If the model file cannot be used.
    ValueError
        If the output folder is taken or cannot be made, or no system can be built of the model's elements.
    RuntimeError
        If nothing could be measured; the message has the reasons.
    """
    shipped = files("openmm_nequip.data") / MODEL
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(as_file(shipped)) if settings.model is None else settings.model
        source = locate(path, settings.trusted)
        units = units_of(read_info(source), *(settings.units or (None, None)))
        folder = _claim(settings.output)
        threads = torch.get_num_threads()
        stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(settings.threads or threads)
        stack.enter_context(_quiet_setup())
        subject = Subject(source, units, torch.get_num_threads())
        return _run(settings, subject, folder, stop)


def _run(settings: BenchSettings, subject: Subject, folder: Path, stop: Callable[[], bool]) -> BenchOutcome:
    info, contenders, document = _prepare(settings, subject, folder)
    limits = Limits(settings.budget)
    for size in sorted(set(settings.sizes)):
        if stop():
            break
        bench = build_system(info.type_names, size)
        if any(system["atoms"] == bench.n_atoms for system in document["systems"]):
            logger.info("size %d gives %s, which was measured already", size, bench.title)
            continue
        logger.info("%d atoms: %s", bench.n_atoms, bench.title)
        start = time.monotonic()
        system = measure_size(subject, info, contenders, bench, limits, settings, stop)
        gc.collect()  # Contexts hold their memory until their cycles are found
        system |= {"wanted_atoms": size, "seconds": round(time.monotonic() - start, 1)}
        document["systems"].append(system)
        if not system["rows"] and not stop():
            document["stopped"] = f"nothing could be measured with {bench.n_atoms} atoms"
            break
        _save(folder, document)
    if stop():
        document["stopped"] = "interrupted; the figures are those measured until then"
    _save(folder, document)
    if not stop() and not any(system["rows"] for system in document["systems"]):
        raise RuntimeError(f"nothing could be measured: {_reasons(document)}")
    disagreements = [name for system in document["systems"] for name in system["agreement"]["disagreements"]]
    return BenchOutcome(document, table(document), folder, sorted(set(disagreements)))


def _prepare(
    settings: BenchSettings, subject: Subject, folder: Path
) -> tuple[ModelInfo, list[Contender], dict[str, Any]]:
    """Facts about the model, everyone who is timed, and the document that the figures go to."""
    kernels = settings.kernels or (("fused", "none") if can_fuse(subject.source) else ("none",))
    platforms = settings.platforms or tuple(sensible_platforms())
    devices = tuple(dict.fromkeys(map(device_of, platforms)))
    left_out: list[dict[str, str]] = []
    backends = _usable_backends(settings, subject, left_out)
    info, precision, variants = _open(subject, kernels, devices, left_out)
    contenders: list[Contender] = [bare(subject, variant, device) for variant, device in variants]
    contenders += [
        ours(subject, variant, platform, backend)
        for variant, device in variants
        for platform in platforms
        if device_of(platform) == device
        for backend in backends
        if backend != NATIVE
    ]
    if NATIVE in backends:
        with_gpu = platforms if settings.backends else platforms_with_gpu()
        contenders += [own_force(subject, platform) for platform in platforms if platform in with_gpu]
    fastest = min(platforms, key=lambda name: _FASTEST.index(name) if name in _FASTEST else len(_FASTEST))
    contenders += make_peers(subject, settings.peers, fastest, compiled="none" in kernels)
    document: dict[str, Any] = {
        "environment": describe_environment(subject.threads),
        "settings": asdict(settings) | {"model": Path(subject.source.path).name, "output": folder.name},
        "model": {
            "name": Path(subject.source.path).name,
            "kind": subject.source.kind,
            "sha256": subject.source.sha256,
            "dtype": info.dtype,
            "cutoff": info.cutoff,
            "type_names": list(info.type_names),
            "kernels": {f"{variant}, {device}": said for (variant, device), said in variants.items()},
        },
        "precision": precision,
        "left_out": left_out,
        "systems": [],
        "stopped": None,
    }
    return info, contenders, document


def _open(
    subject: Subject, kernels: tuple[str, ...], devices: tuple[str, ...], left_out: list[dict[str, str]]
) -> tuple[ModelInfo, list[dict[str, Any]], dict[tuple[str, str], str]]:
    """Load the model in every way; its facts, its precision by device, and what became of each way that works."""
    info: ModelInfo | None = None
    found: dict[tuple[str, str], str] = {}
    precision: dict[str, dict[str, Any]] = {}
    for device in devices:
        for variant in kernels:
            try:
                opened = subject.model(variant, device).info
            except Exception as error:  # compilers, CUDA and nequip each raise what they like
                left_out.append({"name": f"kernels={variant} on {device}", "reason": reason_of(error, subject)})
                continue
            info = info or opened
            found[variant, device] = opened.kernels
            if device not in precision:
                precision[device] = describe_precision(subject, variant, device)
    if info is None:
        raise RuntimeError("the model runs in none of the ways asked for: " + _listed(left_out))
    return info, list(precision.values()), found


def _usable_backends(settings: BenchSettings, subject: Subject, left_out: list[dict[str, str]]) -> list[str]:
    """The backends asked for that can run this kind of file here."""
    nobody = Placement(0, np.zeros(0, dtype=np.int64))
    spec = PotentialSpec(subject.source, subject.units, nobody, False, skin_in_nm(None))
    found = []
    without_gpu = () if platforms_with_gpu() else (NATIVE,)  # which then is a PythonForce by another way
    for name in settings.backends or tuple(name for name in BACKENDS if name not in ("auto", *without_gpu)):
        try:
            found.append(choose_backend(name, spec))
        except (ValueError, RuntimeError) as error:
            left_out.append({"name": name, "reason": reason_of(error, subject)})
    return found


def _claim(output: str | None) -> Path:
    """The folder to write to, made."""
    number = 1
    folder = Path(output or DEFAULT_OUTPUT)
    while (folder / DOCUMENT).exists():
        if output is not None:
            raise ValueError(f"output folder {output} holds another benchmark ({DOCUMENT}); give another --output")
        number += 1
        folder = Path(f"{DEFAULT_OUTPUT}-{number}")
    reason = folder_obstacle(folder)
    if reason:
        raise ValueError(f"output folder {folder} {reason}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output folder {folder} cannot be made: {error.strerror or error}") from error
    return folder


def _save(folder: Path, document: dict[str, Any]) -> None:
    write_atomically(folder / DOCUMENT, (json.dumps(document, indent=1) + "\n").encode())
    if any(system["rows"] for system in document["systems"]):
        write_atomically(folder / PICTURE, draw(document))


def _reasons(document: dict[str, Any]) -> str:
    return _listed(document["left_out"] + [item for system in document["systems"] for item in system["left_out"]])


def _listed(items: list[dict[str, str]]) -> str:
    return "; ".join(f"{item['name']}: {item['reason']}" for item in items) or "no reason is known"


@contextlib.contextmanager
def _quiet_setup() -> Iterator[None]:
    """Keep back what setting up a simulation tells, which would be told for everyone and every size."""
    package = __name__.split(".")[0]
    loggers = [logging.getLogger(f"{package}.{name}") for name in ("potential", "forces")]
    before = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Of torch and nequip about their own future, once for each who loads the file.
            for name in ("torch", "nequip", "e3nn", "lightning"):
                warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
            yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)
