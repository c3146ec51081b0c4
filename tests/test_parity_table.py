"""Three rows of the table of docs/parity.md, made anew by the script that made it."""

import runpy
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
TABLE = runpy.run_path(str(ROOT / "benchmarks" / "parity_table.py"))
#: eV of the energy on the page: its last digit, and single precision of a total of 90,000 eV.
LAST_DIGIT, SINGLE = 2e-5, 2e-7
PAGE = TABLE["rows_of"]((ROOT / "docs" / "parity.md").read_text(encoding="utf-8"))


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize("name", ["triclinic", "allegro", "hybrid"])
def test_a_row_is_made_again(name, tmp_path):
    """Nobody disagrees; the energy is the page's; what the page calls the largest differences is rounding."""
    document = TABLE["measure"](name, TABLE["Folder"](tmp_path, tmp_path))
    assert not document["disagreements"]
    answered = {row["program"]: row for row in document["rows"] if row["agrees"] is not None}
    assert all(row["reason"] for row in document["rows"] if row["agrees"] is None)
    for platform in ("Reference", "CPU"):
        assert any(platform in program for program in answered)
    assert any(program.startswith("openmm-ml") for program in answered)
    made, written = cells(TABLE["line"](name, document)), cells(PAGE[name])
    assert made[:2] == written[:2] and int(written[2]) >= 3
    assert abs(float(made[3]) - float(written[3])) < LAST_DIGIT + SINGLE * abs(float(made[3]))
    assert "disagree" not in written[2] and written[7].endswith(tuple("⁻" + digit for digit in "¹²³⁴⁵⁶⁷⁸⁹"))
    if name != "hybrid":
        assert {"model alone, eager", "model alone, fused kernels"} <= answered.keys()
        calculator = next(row for program, row in answered.items() if program.startswith("NequIPCalculator"))
        assert calculator["stress_difference_bar"] < document["tolerance"]["stress_bar"]


def test_the_page_has_every_row():
    assert PAGE.keys() == TABLE["ROWS"].keys()
    assert not any("disagree" in row for row in PAGE.values())
