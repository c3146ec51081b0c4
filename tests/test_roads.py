"""The table of docs/formats.md: every kind of potential on every road, gone anew."""

import pytest
import roads


@pytest.mark.slow
@pytest.mark.parametrize("name", roads.KINDS)
def test_every_road(name, tmp_path):
    """The same energy on all of them, as the page says; runs keep the total energy and go on where they stopped."""
    kind = roads.KINDS[name]
    if roads.missing(kind):
        pytest.skip(roads.missing(kind))
    assert roads.line(kind, roads.walk(kind, tmp_path)) in roads.PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_has_no_row_that_nobody_goes():
    assert list(roads.rows_of(roads.PAGE.read_text(encoding="utf-8"))) == list(roads.KINDS)
