"""The picture of the learning loop: errors of each generation of models, deviation of the runs, where frames lie."""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

LABELS = {"held_out": "held out: the whole map", "old": "old: the first conformer"}
COLOURS = {"held_out": "#cc3311", "old": "#4477aa"}
LINES = ("o-", "s--", "^:", "v-.")  # of the seeds
ORIGINS = {"first": ("0.6", "first frames"), "round1": ("#ee9900", "round 1"), "round2": ("#aa3377", "round 2")}


def draw(path, *results):
    """Draw what `loop.py` measured.

    Parameters
    ----------
    path : path-like
        File to write.
    *results : dict
        As in `results.json`, one for each seed. Where the frames lie is shown of the first.
    """
    figure, (forces, energies, spread, where) = plt.subplots(1, 4, figsize=(15, 3.8), layout="constrained")
    for panel, key, title in (
        (forces, "forces_mae_mev_per_angstrom", "forces, mean error (meV/Å)"),
        (energies, "energy_mae_mev_per_atom", "energies, mean error (meV/atom)"),
    ):
        for name, label in LABELS.items():
            for result, line in zip(results, LINES, strict=False):
                values = [row[name][key] for row in result["generations"]]
                panel.plot(range(len(values)), values, line, color=COLOURS[name], label=label)
                label = None  # one entry of the legend for all seeds
        panel.set(title=title, xlabel="rounds learnt from", ylim=(0, None), xticks=range(len(values)))
    forces.legend(fontsize="small")
    for result, line in zip(results, LINES, strict=False):
        deviations = [row["median_deviation"] for row in result["rounds"]]
        spread.plot(range(1, len(deviations) + 1), deviations, line, color="#4477aa")
    spread.set(title="models' disagreement on their run", xlabel="run", ylabel="median deviation (eV/Å)",
               ylim=(0, None), xticks=range(1, len(deviations) + 1))  # fmt: skip
    for origin, (colour, label) in ORIGINS.items():
        points = results[0]["torsions"].get(origin, [])
        where.plot(*zip(*points, strict=True) if points else ([], []), ".", color=colour, label=label)
    where.set(xlim=(-180, 180), ylim=(-180, 180), xlabel="φ (°)", ylabel="ψ (°)", title="training frames")
    where.legend(fontsize="small")
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", help="results.json of each seed, at most four")
    parser.add_argument("--output", required=True, help="picture to write")
    options = parser.parse_args()
    draw(options.output, *(json.loads(Path(path).read_text()) for path in options.results))


if __name__ == "__main__":
    main()
