"""Unit conversions against openmm.unit."""

import openmm.unit as unit
import pytest

from openmm_nequip import units
from openmm_nequip.units import resolve_units

RELATIVE = 1e-12


@pytest.mark.parametrize(
    ("name", "quantity"),
    [("angstrom", unit.angstrom), ("nm", unit.nanometer), ("bohr", unit.bohr)],
)
def test_lengths_agree_with_openmm(name, quantity):
    assert resolve_units(length_unit=name).length == pytest.approx(
        quantity.conversion_factor_to(unit.nanometer), rel=RELATIVE
    )
    by_unit = resolve_units(length_unit=quantity).length
    assert by_unit == pytest.approx(resolve_units(length_unit=name).length, rel=RELATIVE)


def test_energies_agree_with_openmm():
    joule_to_kj_per_mol = units.AVOGADRO * 1e-3
    assert resolve_units(energy_unit="hartree").energy == pytest.approx(
        unit.hartree.conversion_factor_to(unit.joule) * joule_to_kj_per_mol, rel=RELATIVE
    )
    assert resolve_units(energy_unit="kcal/mol").energy == pytest.approx(
        unit.kilocalorie_per_mole.conversion_factor_to(unit.kilojoule_per_mole), rel=RELATIVE
    )
    volt = unit.volt * unit.elementary_charge
    assert resolve_units(energy_unit="eV").energy == pytest.approx(
        volt.conversion_factor_to(unit.joule) * joule_to_kj_per_mol, rel=1e-9
    )
    assert resolve_units(energy_unit=unit.hartree).energy == pytest.approx(
        resolve_units(energy_unit="hartree").energy, rel=RELATIVE
    )
    assert resolve_units(energy_unit=unit.kilocalorie_per_mole).energy == pytest.approx(4.184, rel=RELATIVE)


def test_published_constants():
    assert units.KJ_PER_MOL_PER_EV == pytest.approx(96.48533212331, rel=RELATIVE)
    assert units.KJ_PER_MOL_PER_HARTREE == pytest.approx(2625.499639, rel=1e-9)
    # 1 eV/Å^3 is 1.602176634e6 bar by definition of the two units.
    assert resolve_units("angstrom", "eV").stress_bar == pytest.approx(1.602176634e6, rel=RELATIVE)


def test_default_is_marked_as_assumed():
    assert resolve_units().assumed
    assert resolve_units("angstrom").assumed
    assert not resolve_units("angstrom", "eV").assumed
    assert not resolve_units(length_scale=0.1, energy_scale=96.5).assumed
    assert resolve_units().describe() == "angstrom, eV"


def test_scales_as_in_openmm_ml():
    found = resolve_units(length_scale=0.1, energy_scale=4.184)
    assert (found.length, found.energy) == (0.1, 4.184)
    assert found.force == pytest.approx(41.84)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"length_unit": "parsec"}, "lengthUnit='parsec' is not a known unit; use one of angstrom"),
        ({"energy_unit": "erg"}, "energyUnit='erg' is not a known unit"),
        ({"length_unit": unit.kelvin}, "not convertible"),
        ({"energy_unit": unit.nanometer}, "not convertible"),
        ({"length_unit": 3}, "neither a unit's name"),
        ({"length_unit": "nm", "length_scale": 1.0}, "both lengthUnit='nm' and lengthScale=1.0"),
        ({"energy_unit": "eV", "energy_scale": 1.0}, "both energyUnit"),
        ({"length_scale": 0}, "lengthScale=0 must be a positive"),
        ({"energy_scale": float("nan")}, "must be a positive"),
        ({"energy_scale": "1"}, "must be a positive"),
    ],
)
def test_bad_units(arguments, message):
    with pytest.raises(ValueError, match=message):
        resolve_units(**arguments)
