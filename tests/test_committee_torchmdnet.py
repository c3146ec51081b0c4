"""Ensembles of TorchMD-Net as a list on the command line, and their spread along a run."""

import csv
import json
import os
import zipfile

import numpy as np
import pytest
from torchmdnet_files import own, water, write

from openmm_nequip.app.cli import main
from openmm_nequip.upstream.torchmdnet_models import installed

#: kJ/mol and kJ/mol/nm: float32, random weights.
ENERGY_TOLERANCE, FORCE_TOLERANCE = 1e-2, 5e-3
pytestmark = pytest.mark.slow
if installed() is None:
    if os.environ.get("OPENMM_NEQUIP_REQUIRE_TORCHMDNET") == "1":
        raise RuntimeError("OPENMM_NEQUIP_REQUIRE_TORCHMDNET=1, but torchmd-net is not installed")
    pytest.skip("needs torchmd-net, which is not installed here", allow_module_level=True)


def test_lists_and_archives(tmp_path, capsys):
    members = [write(tmp_path / f"{seed}.ckpt", "gn", seed=seed) for seed in (1, 2, 3)]
    bundle = str(tmp_path / "all.zip")
    with zipfile.ZipFile(bundle, "w") as archive:
        for path in members:
            archive.write(path, os.path.basename(path))
    numbers, positions, _ = water(2)
    structure = tmp_path / "two.xyz"
    symbols = ["H" if z == 1 else "O" for z in numbers]
    rows = [f"{s} {x!r} {y!r} {z!r}" for s, (x, y, z) in zip(symbols, positions.tolist(), strict=True)]
    structure.write_text(f"{len(rows)}\n\n" + "\n".join(rows) + "\n")
    energy, _, spread, forces_spread = own(members, numbers, positions, return_std=True)
    units = ["--units", "angstrom", "eV"]
    capsys.readouterr()  # the banner of a library that TorchMD-Net, called here, has loaded
    assert main(["energy", members[0], str(structure), "--committee", *members[1:], *units, "--json"]) == 0
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert abs(found["energy_kj_per_mol"] - energy) < ENERGY_TOLERANCE
    # TorchMD-Net divides by M - 1, a committee by M.
    assert abs(found["energy_spread_kj_per_mol"] - spread * np.sqrt(2 / 3)) < ENERGY_TOLERANCE
    of_atoms = np.linalg.norm(forces_spread, axis=1)
    assert np.abs(found["forces_spread_kj_per_mol_nm"] - of_atoms * np.sqrt(2 / 3)).max() < FORCE_TOLERANCE
    run = ["run", "--structure", str(structure), "--steps", "4", "--no-minimize", "--equilibrate", "0", "--reactive",
           "--report-interval", "2", "--platform", "Reference", "--timestep", "0.01", *units]  # fmt: skip
    largest = []
    for name, model in (("zip", [bundle]), ("list", [members[0], "--committee", *members[1:]])):
        assert main([*run, "--output", str(tmp_path / name), "--seed", "1", "--model", *model]) in (0, 3)
        with open(tmp_path / name / "deviation.csv") as file:
            largest.append([float(row["deviation_ev_per_angstrom"]) for row in csv.DictReader(file)])
    assert len(largest[0]) == 2 and np.allclose(np.array(largest[0]) * np.sqrt(2 / 3), largest[1], rtol=1e-4)
