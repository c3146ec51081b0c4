"""The picture of a potential of mean force: profile with errors, samples of each window, overlap."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...free_energy import Profile


def write_picture(path: Path, profile: Profile, axis: np.ndarray, label: str, title: str) -> None:
    """Draw a profile.

    Parameters
    ----------
    path : pathlib.Path
        File; the suffix decides the format.
    profile : Profile
        What to draw.
    axis : numpy.ndarray, (n_bins,)
        The coordinate in the unit of the label.
    label : str
        Of the coordinate.
    title : str
        Above the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.4), layout="constrained")
    top, right = figure.subplots(1, 2, width_ratios=(3, 2))
    # Bins that were never visited are NaN and leave gaps; the dots show those between two gaps.
    band = profile.energies - 2 * profile.errors, profile.energies + 2 * profile.errors
    top.fill_between(axis, *band, color="#4477aa", alpha=0.3, lw=0, label="± 2 errors")
    top.plot(axis, profile.energies, ".-", ms=4, color="#4477aa", label="potential of mean force")
    top.set(xlabel=label, ylabel="free energy, kJ/mol")
    below = top.twinx()
    for row in profile.counts:
        below.plot(axis, row, lw=0.8, alpha=0.7)
    below.set_ylim(0, 4 * max(profile.counts.max(), 1))
    below.set_yticks([])
    below.set_ylabel("samples of the windows")
    top.legend(loc="upper center", fontsize=8)
    image = right.imshow(profile.overlap, cmap="Blues", vmin=0, vmax=max(float(profile.overlap.max()), 1e-6))
    right.set(title="overlap", xlabel="window", ylabel="window")
    figure.colorbar(image, ax=right, shrink=0.8)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=150)
