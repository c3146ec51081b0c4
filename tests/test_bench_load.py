"""The benchmark on a busy machine: seen, measured again, and told."""

from __future__ import annotations

import pytest

from openmm_nequip.app.bench import calm, load_watch
from openmm_nequip.app.bench.bench_report import make_row, table
from openmm_nequip.app.bench.calm import MOST_TRIES, describe_load, is_possible, measure_calmly
from openmm_nequip.app.bench.contenders import OURS, Contender
from openmm_nequip.app.bench.figures import Figure

PARTS = {"ours": ["mm", "list", "bare"]}


def figures(step: float) -> dict[str, Figure]:
    """A step of so many ms with a model of 2 ms in it."""
    times = {"ours": step, "mm": 0.1, "list": 0.2, "bare": 2.0}
    return {name: Figure((value,) * 3, (0, 1, 2), 1) for name, value in times.items()}


@pytest.mark.parametrize(("step", "possible"), [(2.5, True), (2.3, True), (2.2, True), (1.3, False), (2.1, False)])
def test_a_step_takes_no_less_than_its_parts(step, possible):
    """The 'glue' of a step of 1.3 ms would be -1."""
    found = figures(step)
    assert is_possible(found["ours"], [found[name] for name in PARTS["ours"]]) is possible


def prepared(monkeypatch, steps: list[float], waiting: list[float]):
    """What measurements and looks at the machine will give, one after the other."""
    tries, looks = iter(steps), iter(waiting)

    class Watch:
        def facts(self):
            share = next(looks)
            return {"waiting": share, "other_cores": 0.0, "cores": 2, "busy": share > load_watch.BUSY_WAITING}

    monkeypatch.setattr(calm, "LoadWatch", Watch)
    monkeypatch.setattr(calm, "measure", lambda *_: (figures(next(tries)), {}))


@pytest.mark.parametrize(
    ("steps", "waiting", "tries", "chosen", "lines"),
    [
        ([2.5], [0.0], 1, 2.5, 0),  # a quiet machine is measured once
        ([1.3, 2.6], [0.0, 0.0], 2, 2.6, 0),  # an impossible split is measured again
        ([2.5, 2.9], [0.4, 0.05], 2, 2.9, 0),
        ([1.3, 1.4, 2.7], [0.0, 0.0, 0.3], 3, 2.7, 1),  # what can be comes before what was calm
        ([2.9, 2.8, 3.0], [0.5, 0.2, 0.4], 3, 2.8, 1),
        ([1.3, 1.2, 1.1], [0.2, 0.3, 0.4], 3, 1.3, 2),
    ],
)
def test_it_is_measured_again_and_said(monkeypatch, steps, waiting, tries, chosen, lines):
    prepared(monkeypatch, steps, waiting)
    found, _, load = measure_calmly({}, {}, (3, 30.0), lambda: False, "96 atoms", PARTS)
    assert found["ours"].median_ms == chosen and load["tries"] == tries <= MOST_TRIES
    assert len(describe_load(load)) == lines
    assert load["impossible"] == (["ours"] if chosen < 2.2 else [])


def test_tries_end_with_the_budget_and_with_a_stop(monkeypatch):
    prepared(monkeypatch, [1.3], [0.0])
    assert measure_calmly({}, {}, (3, -1.0), lambda: False, "96 atoms", PARTS)[2]["tries"] == 1
    prepared(monkeypatch, [1.3], [0.0])
    assert measure_calmly({}, {}, (3, 30.0), lambda: True, "96 atoms", PARTS)[2]["tries"] == 1


@pytest.mark.parametrize(("step", "shown"), [(2.5, True), (1.3, False)])
def test_an_impossible_split_is_not_printed(step, shown):
    contender = Contender("ours", OURS, "", lambda _: None, platform="CPU", variant="fused")
    names = {"mm": "mm", "list": "list", "model": "bare"}
    row = make_row(contender, figures(step), 96, names, figures(step)["ours"])
    assert row["split_possible"] is shown and sum(row["split"].values()) == pytest.approx(step)
    load = {"busy": not shown, "other_cores": 1.5, "cores": 2, "waiting": 0.3, "tries": 3}
    load["impossible"] = [] if shown else ["ours"]
    agreement = {"comparisons": [], "reference": None}
    document = {
        "environment": {"date": "", "cpu": "", "threads": 1, "cores": 2, "gpus": [],
                        "versions": dict.fromkeys(("torch", "openmm", "nequip", "openmmml"), "")},
        "model": {"name": "m", "dtype": "float32", "cutoff": 4.0, "type_names": ["O"]},
        "precision": [], "left_out": [], "stopped": None,
        "systems": [{"atoms": 96, "title": "", "agreement": agreement, "rows": [row], "load": load, "left_out": []}],
    }  # fmt: skip
    text = table(document)
    assert ("BUSY MACHINE: other programs had 1.5 of 2 cores, this one waited 30 % of the time" in text) is not shown
    assert ("not split: ours: measured as faster than what is in the step, 3 times" in text) is not shown
    assert ("-1.000" in text) is False and ("0.200" in text) is shown


@pytest.mark.parametrize(
    ("waited", "busy", "said"), [((0.0, 0.0), (10.0, 10.0), False), ((0.0, 1e6), (10.0, 10.0), True),
                                 ((0.0, 0.0), (10.0, 1e9), True), ((None, None), (None, None), False)]
)  # fmt: skip
def test_others_at_work_are_seen(monkeypatch, waited, busy, said):
    for name, values in (("_waited", waited), ("_busy", busy)):
        monkeypatch.setattr(f"openmm_nequip.app.bench.load_watch.{name}", iter(values).__next__)
    facts = load_watch.LoadWatch().facts()
    assert facts["busy"] is said and facts["cores"] >= 1
    assert (facts["waiting"] is None) == (waited[0] is None) and (facts["other_cores"] is None) == (busy[0] is None)
