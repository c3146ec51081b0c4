"""Imports point down: a lower layer never imports a higher one, and tensors' modules never import OpenMM at the top."""

import ast
from pathlib import Path

import pytest

import openmm_nequip

ROOT = Path(openmm_nequip.__file__).parent
#: Layer of each module or package of openmm_nequip; imports go to a lower layer or stay inside a package.
LAYERS = {
    "_version": 0, "choices": 0, "errors": 0, "kept_error": 0, "upstream": 1, "units": 0,
    "cache": 0, "cuda_driver": 0, "cxx": 0, "files": 0, "progress": 0, "shown": 0, "supervisor": 0, "data": 0,
    "sealed": 0, "series": 0, "trajectory_loading": 0, "csv_table": 0,
    "crystal": 1, "networks": 1, "graph": 1, "kernels": 2,
    "models": 3,
    "devices": 4, "evaluate": 4, "layout": 5,
    "forces": 5,
    "options": 6, "topology": 6, "model_outputs": 6,
    "hybrid": 7, "stress": 7, "free_energy": 7, "lambda_state": 8,
    "deviation": 6, "deviation_reporter": 8, "deviation_limits": 1, "committee_bias": 1, "distinct_frames": 7,
    "potential": 8, "module_potential": 9, "reporters": 9, "reading": 8,
    "registration": 9, "nequip_extension": 9, "csvr": 10,
    "app": 11, "__main__": 12, "inputs": 12,
}  # fmt: skip
WITHOUT_OPENMM = {
    "choices", "errors", "units", "cache", "cuda_driver", "cxx", "files", "progress", "graph", "kernels", "models",
    "evaluate", "layout",
}  # fmt: skip


def modules():
    return sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def unit_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path):
    """Names of the units of this package that a file imports anywhere."""
    depth = len(path.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level == 0 and (node.module or "").startswith("openmm_nequip."):
                yield node.module.split(".")[1]
            elif node.level == depth:
                yield from [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("openmm_nequip."):
                    yield alias.name.split(".")[1]


def test_every_module_has_a_layer():
    assert {unit_of(path) for path in modules()} <= set(LAYERS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_upward_import(path):
    own = unit_of(path)
    for other in imports(path):
        if other not in LAYERS or other == own:  # a public name of the package itself, or a sibling
            continue
        assert LAYERS[other] < LAYERS[own], f"{path.name} ({own}) imports {other}, which is not below it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_openmm_stays_above_the_tensors(path):
    if unit_of(path) not in WITHOUT_OPENMM:
        return
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        assert not any(name.split(".")[0] in ("openmm", "openmmml", "openmmtorch") for name in names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) <= 400
