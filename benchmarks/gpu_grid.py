"""The native force in OpenMM against nequip's own evaluation and the CPU kernels, case by case.

    bash tests/pocl.sh FOLDER                          # once: OpenCL on a CPU; or a GPU: --platform CUDA
    python benchmarks/gpu_grid.py [--platform OpenCL] [--output gpu-grid] [--only WORD ...]

Models x boxes from 4 to 3,000 atoms, hybrid Systems, dynamics, files that go on. Each case is written down as soon as
it is done; a second call goes on with what is missing. On OpenCL, where no device is at hand, the script starts itself
again with pocl (``OPENMM_NEQUIP_POCL`` names its folder).
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform as machine
import sys
import time
import traceback
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from gpu_models import ROOT, SHIPPED
from nve_drift import drift

from openmm_nequip import create_mixed_system
from openmm_nequip.app.bench.bench_systems import build_system
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.graph.neighbors import NeighborList
from openmm_nequip.kernels.cpu.library import Step
from openmm_nequip.kernels.fuse import fuse
from openmm_nequip.models import locate, read_info
from openmm_nequip.models.fused import open_kernels

sys.path.insert(0, str(ROOT / "tests"))
import native_cases as cases  # noqa: E402
from native_feature_cases import use_files  # noqa: E402
from nequip_models import structure  # noqa: E402
from pocl import pocl_environment  # noqa: E402
from test_kernels import MODELS  # noqa: E402
from test_mixed_standin import SIDE_CHAIN, solution, solution_system  # noqa: E402

sys.path.remove(str(ROOT / "tests"))

#: Energy an atom (eV) and forces (eV/Å, relative to the largest where that is above 1), by the model's numbers. In
#: OpenMM's mixed precision positions are pairs of floats, which float64 models see.
LIMITS = {"float32": (5e-7, 5e-6), "float64": (1e-10, 1e-8), "float64, mixed": (1e-8, 2e-7)}
#: The same in kJ/mol of a hybrid System, part of whose force field is single precision.
HYBRID = (1e-8, 1e-6)
#: By name: atoms, and what of :func:`nequip_models.structure` or of :func:`lattice`.
BOXES: dict[str, dict[str, Any]] = {
    "22, no box": {"n_atoms": 22, "side": 7.0, "periodic": False},
    "22, skewed box": {"n_atoms": 22, "side": 14.0},
    "4, images of itself": {"n_atoms": 4, "side": 2.6},
    "24, skewed, images": {"n_atoms": 24, "side": 6.5},
    "200, skewed box": {"counts": (8, 5, 5)},
    "3000, skewed box": {"counts": (15, 20, 10)},
    "3000, no box": {"counts": (15, 20, 10), "periodic": False},
}
#: Å between the atoms of a lattice.
_SPACING = 2.2
_FEW = 300
#: Models whose 3,000 atoms nequip evaluates as well, in a few GB.
LARGE = ("l1", "l1 parity", "l2", "l2 everything")
#: The precision of OpenMM that fits a model's, and another one, shown in one box: single precision knows positions
#: to 2e-7 of a box, whatever computes the forces.
PRECISIONS = {"float32": ("mixed", "single"), "float64": ("double", "mixed")}
BOTH = "24, skewed, images"
#: Boxes that are done first: one by which all models are compiled, and the large ones.
FIRST = (BOTH, "3000")
_STEPS, _NVE_STEPS = 2000, 20_000


def lattice(counts: tuple[int, int, int], periodic: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A rattled lattice in a skewed, reduced box: positions (n, 3) in Å, types and cell."""
    rng = np.random.default_rng(6)
    a, b, c = (k * _SPACING for k in counts)
    cell = np.array([[a, 0, 0], [0.3 * a, b, 0], [-0.2 * a, 0.25 * b, c]])
    ticks = np.stack(np.meshgrid(*(np.arange(k) for k in counts), indexing="ij"), -1).reshape(-1, 3)
    positions = (ticks + 0.5) / np.array(counts) @ cell + rng.normal(0, 0.15, ticks.shape)
    return positions, rng.integers(0, 3, len(ticks)), cell if periodic else np.eye(3) * 300.0


@functools.cache
def box_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Positions, types, cell of a box, and whether it is periodic."""
    options = BOXES[name]
    made = lattice(**options) if "counts" in options else structure(**options)
    return (*made, options.get("periodic", True))


@functools.cache
def cpu_step(model: str) -> Step:
    """The CPU kernels of a model."""
    return Step(open_kernels(fuse(cases.model_of(model), True)))


class Grid:
    """All cases on a platform.

    Parameters
    ----------
    platform : str
        OpenMM's name of it.
    """

    def __init__(self, platform: str) -> None:
        self.platform = platform

    def context(self, system: openmm.System, precision: str, integrator: openmm.Integrator | None = None) -> Any:
        """A Context of the platform."""
        properties = {} if self.platform in ("Reference", "CPU") else {"Precision": precision}
        chosen = openmm.Platform.getPlatformByName(self.platform)
        return openmm.Context(system, integrator or openmm.VerletIntegrator(0.0005), chosen, properties)

    def numbers(self, model: str, box: str, precision: str) -> dict[str, Any]:
        """Energies and forces; positions scattered over images of the box."""
        positions, types, cell, periodic = box_of(box)
        n = len(types)
        cases.use_kernels(model)
        system = cases.system_of(n, cell if periodic else None)
        system.addForce(cases.force_of(Placement(n, types), periodic, n))
        shift = np.random.default_rng(3).integers(-2, 3, positions.shape) @ cell if periodic else 0.0
        found = cases.answer(self.context(system, precision), positions + shift)
        edges, shifts = NeighborList(cases.CUTOFF, 0.0, periodic)(positions, cell)
        energies, forces, _ = cpu_step(model)(positions, types, edges, shifts, cell, 1)
        row = {"cpu": cases.deviation(found, (energies.sum(), forces)), "edges an atom": edges.shape[1] / n}
        if n <= _FEW or model in LARGE:
            row["nequip"] = cases.deviation(found, cases.expected(model, positions, types, cell, periodic))
        kind = MODELS[model].get("model_dtype", "float64")
        return row | {"limits": LIMITS[f"{kind}, mixed" if (kind, precision) == ("float64", "mixed") else kind]}

    def hybrid(self, model: str, periodic: bool, links: int, regions: int, precision: str) -> dict[str, Any]:
        """A selection with link caps, in regions, against nequip's own evaluation."""
        found = cases.hybrid(model, periodic, links, regions, precision)
        return {"nequip": found, "limits": LIMITS["float64" if precision == "double" else "float64, mixed"]}

    def mixed(self, value: float) -> dict[str, Any]:
        """A side chain with two links and a water, two regions, at a λ, in a force field of the rest."""
        use_files()
        topology, points = solution()
        answers = []
        for name, options in (
            ("zip", {"backend": "Native"}),
            ("zip", {"backend": "PythonForce", "kernels": "fused"}),
            ("pth", {"backend": "PythonForce", "kernels": "none"}),
        ):
            path = os.path.join(cases.DATA, f"tiny-nequip.nequip.{name}")
            regions = [SIDE_CHAIN, [22, 23, 24]]
            made = create_mixed_system(topology, solution_system(), regions, path, interpolate=True, **options)
            context = self.context(made.system, "double")
            context.setParameter("lambda_interpolate", value)
            answers.append(cases.answer(context, points / cases.LENGTH))
        native, cpu, nequip = answers
        return {
            "cpu": cases.deviation(native, cpu), "nequip": cases.deviation(native, nequip), "limits": HYBRID,
        }  # fmt: skip

    def switched(self) -> dict[str, Any]:
        """A parameter that switches the model off."""
        found = cases.switching()
        one, half, none = found["energies"]
        met = one == half != 0.0 == none == found["largest force at 0"]
        return {"said": f"energies at λ 1, 0.5, 0: {one:.6f}, {half:.6f}, {none} eV", "met": met}

    def differences(self) -> dict[str, Any]:
        """Central differences with link caps."""
        worst, largest = cases.differences()
        return {"said": f"{worst:.1e} of {largest:.1f} eV/Å", "met": worst < 1e-8 * max(1.0, largest)}

    def overflow(self) -> dict[str, Any]:
        """Three overflows of the lists."""
        found = cases.overflow()
        worst = max(forces for _, forces in found["deviations"])
        right = all(np.array(each).max() < LIMITS["float32"][1] for each in found["deviations"])
        said = f"{found['grown']} overflows, {found['repeated']} steps computed again, forces {worst:.1e} eV/Å"
        return {"said": said, "met": right and found["grown"] == found["repeated"] >= 3}

    def pressure(self) -> dict[str, Any]:
        """Dynamics at constant pressure with reordering, compared every 20 steps."""
        found = cases.dynamics(steps=_STEPS)
        said = "volume {:.0f} to {:.0f} Å³, farthest atom {:.1f} Å".format(*found["volumes"], found["farthest"])
        return {"nequip": found["worst"], "limits": LIMITS["float64, mixed"], "said": said}

    def restart(self) -> dict[str, Any]:
        """A run that goes on from a checkpoint."""
        same = cases.restart(steps=200)
        return {"said": f"200 and 200 steps, positions {'the same bits' if same else 'NOT the same bits'}", "met": same}

    def energy(self) -> dict[str, Any]:
        """Constant energy, by the native force here and by the CPU kernels on the Reference platform."""
        use_files()
        bench = build_system(read_info(locate(SHIPPED)).type_names, 22)
        given = str(SHIPPED), bench
        native = drift(*given, "native", _NVE_STEPS, 0.25, 1, self.platform)
        cpu = drift(*given, "fused", _NVE_STEPS, 0.25, 1)
        said = [
            f"{name} {one['slope']:+.2f} ± {one['error']:.2f} kJ/mol/ns/atom, rms {one['fluctuation']:.3f} kJ/mol"
            for name, one in (("native", native), ("CPU kernels", cpu))
        ]
        apart = abs(native["slope"] - cpu["slope"])
        noise = 4 * max(native["error"], cpu["error"])
        return {"said": "; ".join(said), "met": apart < noise and native["fluctuation"] < 1.5 * cpu["fluctuation"]}

    def list(self) -> dict[str, Callable[[], dict[str, Any]]]:
        """Each case by what it is; long ones last."""
        found: dict[str, Callable[[], dict[str, Any]]] = {}
        for box in BOXES:
            for model in MODELS:
                if box.startswith("3000") and model not in LARGE:
                    continue
                kind = MODELS[model].get("model_dtype", "float64")
                for precision in PRECISIONS[kind][: 1 + (box == BOTH)]:
                    name = f"{model}, {kind} | {box} | {precision}"
                    found[name] = functools.partial(self.numbers, model, box, precision)
        for periodic in (True, False):
            for links, regions in ((2, 1), (0, 2), (3, 2)):
                for precision in ("double", "mixed")[: 1 + (links == 3)]:
                    where = "box" if periodic else "no box"
                    name = f"l2 everything, float64 | 16 of 60, {links} links, {regions} regions, {where} | {precision}"
                    found[name] = functools.partial(self.hybrid, "l2 everything", periodic, links, regions, precision)
        for value in (0.0, 0.5, 1.0):
            name = f"tiny, float64 | side chain (2 links) and a water, 2 regions, PME, λ {value} | double"
            found[name] = functools.partial(self.mixed, value)
        found["l1, float32 | 24 | λ of the force"] = self.switched
        found["l2 everything, float64 | 16 of 60, 2 links | central differences, double"] = self.differences
        found["l1, float32 | 24 | lists that overflow"] = self.overflow
        found["tiny, float64 | 24 | checkpoint, mixed"] = self.restart
        found[f"l1 parity, float64 | 24 | NPT, 1500 K, {_STEPS} steps, mixed"] = self.pressure
        found[f"shipped, float32 | 22, no box | NVE, {_NVE_STEPS} steps of 0.25 fs, mixed"] = self.energy
        return found


def table(document: dict[str, Any], order: list[str]) -> str:
    """All of it, a line each, in this order."""
    lines = [
        "# The native force against nequip and the CPU kernels",
        "",
        f"Written by `benchmarks/gpu_grid.py`, {document['date']}, OpenMM {document['openmm']}, platform "
        f"{document['platform']} ({document['device']}).",
        "Largest differences: energy in eV an atom and forces in eV/Å, relative to the largest force where that is",
        "above 1 eV/Å. Models: `MODELS` of `tests/test_kernels.py`, with random weights.",
        "",
        "| model | atoms | precision or run | nequip: energy, forces | CPU kernels: energy, forces | limits | |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in (name for name in order if name in document["cases"]):
        row = document["cases"][name]
        if "error" in row:
            lines.append(f"| {name} | | | | FAILED: {row['error']} |")
            continue
        pairs = [" ".join(f"{value:.0e}" for value in row[key]) if key in row else "" for key in ("nequip", "cpu")]
        limits = " ".join(f"{value:.0e}" for value in row["limits"]) if "limits" in row else ""
        verdict = "met" if row["met"] else "MISSED"
        if said := row.get("said"):
            pairs[1] = f"{pairs[1]} {said}".strip()
        lines.append(f"| {name} | {' | '.join(pairs)} | {limits} | {verdict} |")
    return "\n".join(lines) + "\n"


def judge(row: dict[str, Any]) -> bool:
    """Whether a row keeps its limits."""
    near = (row[key] for key in ("nequip", "cpu") if key in row)
    return all(value <= limit for pair in near for value, limit in zip(pair, row["limits"], strict=True))


def device_name(platform: str) -> str:
    """What the platform runs on."""
    system = openmm.System()
    system.addParticle(1.0)
    chosen = openmm.Platform.getPlatformByName(platform)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), chosen)
    names = [name for name in ("DeviceName",) if name in chosen.getPropertyNames()]
    return ", ".join(chosen.getPropertyValue(context, name) for name in names) or machine.machine()


def main() -> None:
    """Run what is not done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--platform", default="OpenCL")
    parser.add_argument("--output", type=Path, default=Path("gpu-grid"), help="stem of the files that are written")
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names have one of these words")
    given = parser.parse_args()
    names = [openmm.Platform.getPlatform(k).getName() for k in range(openmm.Platform.getNumPlatforms())]
    if given.platform not in names:
        if given.platform != "OpenCL" or "OCL_ICD_VENDORS" in os.environ:
            sys.exit(f"OpenMM has {', '.join(names)} here, not {given.platform}")
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | pocl_environment())
    record, document = given.output.with_suffix(".json"), {"cases": {}}
    if record.exists():
        document = json.loads(record.read_text(encoding="utf-8"))
    document |= {"date": str(date.today()), "openmm": openmm.version.version, "platform": given.platform}
    document |= {"device": device_name(given.platform)}
    grid = Grid(given.platform).list()
    for name in sorted(grid, key=lambda name: not name.split(" | ")[1].startswith(FIRST)):
        before = document["cases"].get(name, {"error": ""})
        if "error" not in before or (given.only and not any(word in name for word in given.only)):
            continue
        start = time.monotonic()
        try:
            row = grid[name]()
            row.setdefault("met", judge(row) if "limits" in row else False)
        except Exception as error:
            traceback.print_exc()
            row = {"error": f"{type(error).__name__}: {error}"}
        document["cases"][name] = row | {"seconds": round(time.monotonic() - start, 1)}
        record.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        given.output.with_suffix(".md").write_text(table(document, list(grid)), encoding="utf-8")
        print(f"{name}: {row.get('met', 'FAILED')}, {document['cases'][name]['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
