"""Compare ``ase.traj`` and ``openmm.traj`` step by step."""

from __future__ import annotations

import json

import numpy as np
from ase import units
from ase.io import read


def main() -> None:
    """Print a table and write ``compare.json``: the largest differences at each step."""
    ase, openmm = read("ase.traj", index=":"), read("openmm.traj", index=":")
    if len(ase) != len(openmm):
        raise SystemExit(f"ase.traj has {len(ase)} frames, openmm.traj {len(openmm)}: run both with one --nve-steps")
    rows = []
    for step, (a, b) in enumerate(zip(ase, openmm, strict=True)):
        rows.append({
            "step": step,
            "position_angstrom": np.abs(a.positions - b.positions).max(),
            "velocity_angstrom_per_fs": np.abs(a.get_velocities() - b.get_velocities()).max() * units.fs,
            "force_ev_per_angstrom": np.abs(a.get_forces() - b.get_forces()).max(),
            "energy_ev": abs(a.get_potential_energy() - b.get_potential_energy()),
            "moved_angstrom": np.abs(a.positions - ase[0].positions).max(),
            "total_energy_ase_ev": a.get_total_energy() - ase[0].get_total_energy(),
            "total_energy_openmm_ev": b.get_total_energy() - openmm[0].get_total_energy(),
        })  # fmt: skip
    print("step  |dr| (A)  |dv| (A/fs)  |dF| (eV/A)  |dE| (eV)  moved (A)  E - E(0): ASE, OpenMM (eV)")
    for row in rows[:: max(1, len(rows) // 10)]:
        print("{:4d}  {:.1e}   {:.1e}      {:.1e}      {:.1e}    {:.3f}      {:+.5f}, {:+.5f}".format(*row.values()))
    with open("compare.json", "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=1)


if __name__ == "__main__":
    main()
