"""Folders as GROMACS' users have them, for the tests of ``run --gromacs``."""

from pathlib import Path

import pytest

import openmm_nequip

DATA = Path(__file__).parent / "data" / "gromacs"
MODEL = Path(openmm_nequip.__file__).parent / "data" / "alanine-dipeptide.nequip.zip"
#: Structures and topologies of the GROMACS project, beside the repository.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "gromacs"
#: Atoms CA, HA, CB and HB1 to HB3 of alanine dipeptide, from 1.
REGION = "9 10 11 12 13 14"
PME = {
    "coulombtype": "PME", "rcoulomb": 1.2, "rvdw": 1.2, "coulomb-modifier": "none", "vdw-modifier": "none",
    "ewald-rtol": 1e-7, "fourierspacing": 0.06, "pme-order": 6,
}  # fmt: skip
WATER_TOP = """\
[ defaults ]
1 3 yes 0.5 0.5
[ atomtypes ]
opls_111 OW 8 15.9994 -0.834 A 0.315061 0.636386
opls_112 HW 1  1.0080  0.417 A 0.0 0.0
#include "oplsaa.ff/tip3p.itp"
[ system ]
waters
[ molecules ]
SOL 2
"""


def gro(velocities=True):
    """Two rigid waters with TIP3P's geometry, to three decimals."""
    places = [(0.5, 0.5, 0.5), (0.59572, 0.5, 0.5), (0.47600, 0.59266, 0.5)]
    places += [(x, y, z + 0.3) for x, y, z in places]
    lines = ["two waters", "6"]
    for i, place in enumerate(places):
        name = ("OW", "HW1", "HW2")[i % 3]
        line = f"{i // 3 + 1:5d}SOL  {name:>5s}{i + 1:5d}" + "".join(f"{x:8.3f}" for x in place)
        lines.append(line + "".join(f"{x:8.4f}" for x in (0.1, -0.2, 0.3)) * velocities)
    return "\n".join([*lines, "   2.50000   2.50000   2.50000", ""])


def mdp(**options):
    """Text of a parameter file with a model; names with ``_`` for ``-``."""
    known = {"nnpot-active": "yes", "nnpot-modelfile": MODEL, "nnpot-input-group": "Region", "include": f"-I{DATA}"}
    known |= {name.replace("_", "-"): value for name, value in options.items()}
    return "".join(f"{name} = {value}\n" for name, value in known.items() if value is not None)


def waters(folder, velocities=True, region="1 2 3", **options):
    """A folder with two waters of which one is the region; the four paths."""
    (folder / "md.mdp").write_text(mdp(**{"rvdw": 1.0, "coulombtype": "PME", **options}))
    (folder / "conf.gro").write_text(gro(velocities))
    (folder / "topol.top").write_text(WATER_TOP)
    (folder / "index.ndx").write_text(f"[ System ]\n1 2 3 4 5 6\n[ Region ]\n{region}\n[ Rest ]\n4 5 6\n[ None ]\n")
    return [str(folder / name) for name in ("md.mdp", "conf.gro", "topol.top", "index.ndx")]


def shared(folder, name, region, **options):
    """A folder with one of GROMACS' own systems; the four paths. Skips where the files are absent."""
    if not SHARED.exists():
        pytest.skip(f"GROMACS' own files are not at {SHARED}")
    (folder / "md.mdp").write_text(mdp(**options))
    (folder / "index.ndx").write_text((SHARED / f"{name}.ndx").read_text() + f"\n[ Region ]\n{region}\n")
    return [str(folder / "md.mdp"), str(SHARED / f"{name}.gro"), str(SHARED / f"{name}.top"), str(folder / "index.ndx")]


def alanine(folder, **options):
    """Alanine dipeptide in a box of vacuum, with the sidechain and CA as the region."""
    return shared(folder, "alanine_vacuo", REGION, **{**PME, **options})
