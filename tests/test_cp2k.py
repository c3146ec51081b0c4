"""CP2K's published NequIP models on its water box: energies, stress and forces; skipped where the files are absent."""

import ase.io
import numpy as np
import openmm
import pytest
from conftest import BACKENDS
from openmmml import MLPotential
from toy import evaluate, make_topology

from openmm_nequip import load_model
from openmm_nequip.evaluate.evaluator import Evaluator
from openmm_nequip.evaluate.placement import Placement
from openmm_nequip.units import KJ_PER_MOL_PER_EV, Units

#: Published in CP2K's regtest-nequip: -550.635061584740356 Ha with CODATA-2006, that is -1445692.0287 kJ/mol.
ENERGY_KJ_PER_MOL = -14983.542025661 * KJ_PER_MOL_PER_EV
ENERGY_RELATIVE = 1e-8
PRESSURE_BAR = 34101.5357500
PRESSURE_RELATIVE = 1e-6
FORCE_RELATIVE = 1e-4
SIDE_NM = 0.98528
STEP_NM = 2e-5
#: Model of nequip 0.6.0: -17.19544 Ha on three atoms, float32.
LEGACY_EV = -467.911774
LEGACY_TOLERANCE_EV = 5e-5


@pytest.fixture(scope="module")
def water(cp2k):
    """Symbols and positions (96, 3) in nm."""
    atoms = ase.io.read(cp2k / "water-bulk.xyz")
    return atoms.get_chemical_symbols(), atoms.positions / 10


@pytest.mark.slow
def test_energy_and_forces_of_the_water_box(cp2k, water, backend):
    symbols, positions = water
    potential = MLPotential("nequip", modelPath=str(cp2k / "waterscan-neq0.16.nequip.pth"))
    system = potential.createSystem(make_topology(symbols, np.eye(3) * SIDE_NM), backend=backend)
    energy, forces = evaluate(system, positions)
    assert energy == pytest.approx(ENERGY_KJ_PER_MOL, rel=ENERGY_RELATIVE)
    assert energy == pytest.approx(-1445692.0287, rel=ENERGY_RELATIVE)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    scale = np.sqrt((forces**2).mean())
    for atom, axis in ((0, 0), (64, 1)):
        energies = []
        for sign in (1, -1):
            shifted = positions.copy()
            shifted[atom, axis] += sign * STEP_NM
            context.setPositions(shifted)
            energies.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
        numerical = -(energies[0] - energies[1]) / (2 * STEP_NM)
        assert numerical == pytest.approx(forces[atom, axis], abs=FORCE_RELATIVE * scale)


def test_stress_of_the_water_box(cp2k, water):
    symbols, positions = water
    model = load_model(cp2k / "waterscan-neq0.16.nequip.pth")
    types = np.array(["HO".index(symbol) for symbol in symbols])
    out = Evaluator(model, Units(), Placement(96, types), True, 0.0).evaluate(positions, np.eye(3) * SIDE_NM)
    assert -np.trace(out["stress"]) / 3 == pytest.approx(PRESSURE_BAR, rel=PRESSURE_RELATIVE)
    assert out["atomic_energies"].sum() == pytest.approx(out["energy"], rel=1e-12)


@pytest.mark.parametrize(("cutoff", "edges"), [(0.5, 4974), (0.4, 2570)])
def test_edge_counts_of_the_water_box(water, cutoff, edges):
    from openmm_nequip.graph.neighbors import NeighborList

    assert NeighborList(cutoff, 0.1, True)(water[1], np.eye(3) * SIDE_NM).index.shape == (2, edges)


def test_model_of_nequip_0_6(cp2k, backend):
    """CP2K's own input for it: three atoms, two of them outside the box."""
    positions = np.array(
        [[42.88616967, -0.05568166, 38.32916112], [34.20258872, -0.6185484, 37.36556808],
         [43.20990872, -0.06284565, 47.25931559]]
    ) / 10  # fmt: skip
    path = cp2k / "water-deployed-neq060sp.pth"
    info = load_model(path).info
    assert (info.type_names, info.cutoff, info.dtype, info.versions["nequip"]) == (("H", "O"), 4.0, "float32", "0.6.0")
    topology = make_topology(["H", "H", "O"], np.eye(3) * 0.985)
    system = MLPotential("nequip", modelPath=str(path)).createSystem(topology, backend=backend)
    energy, _ = evaluate(system, positions)
    assert energy / KJ_PER_MOL_PER_EV == pytest.approx(LEGACY_EV, abs=LEGACY_TOLERANCE_EV)


def test_all_backends_are_covered():
    assert BACKENDS, "no backend works in this environment"
