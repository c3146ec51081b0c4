"""A model as a file for the pair style of a user's LAMMPS, chosen and exported by the launcher."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ....choices import FAMILIES
from ....errors import ExportError
from ....models import ModelSource
from .pair_domain import ALLEGRO, MLIAP, NEQUIP, PairModel

logger = logging.getLogger(__name__)

_SCRIPT, _UNIFIED = "torchscript", "mliap"


class PairFiles(NamedTuple):
    """A model that a pair style could evaluate.

    Parameters
    ----------
    source : ModelSource
        A checkpoint or package.
    units : tuple of str or None
        Its units of length and energy, as :func:`openmm_nequip.app.export.exported_model.opened` takes them.
    names : sequence of str
        The model's name of each LAMMPS type.
    """

    source: ModelSource
    units: tuple[str | None, str | None]
    names: Sequence[str]

    def write(self, styles: Sequence[str], ranks: int, folder: Path) -> PairModel | None:
        """Export the model for the best of the styles that are there.

        Parameters
        ----------
        styles : sequence of str
            As :func:`.pair_domain.styles_here` gives them.
        ranks : int
            How many there are: pair_nequip runs on one.
        folder : pathlib.Path
            Where; all ranks see it.

        Returns
        -------
        PairModel or None
            None where no style serves, with the reason in the log.
        """
        if not styles:
            return None
        if len(set(self.names)) < len(self.names):
            logger.info("one type with several masses: pair styles are not used, which take a name once")
            return None
        from ...export.export_command import FORMS
        from ...export.exported_model import opened
        from ...export.lammps_export import export_lammps

        try:
            with opened(self.source.path, None, self.units, trusted=self.source.sha256) as model:
                style = _choose(styles, model.family, ranks)
                if not style:
                    logger.info("pair styles %s of this LAMMPS do not serve: %s model, %d ranks",
                                ", ".join(styles), model.family, ranks)  # fmt: skip
                    return None
                form = _UNIFIED if style == MLIAP else _SCRIPT
                export_lammps(model, folder, form)
        except ExportError as error:
            logger.warning("pair style %s is not used: %s", styles[0], error)
            return None
        logger.info("the model is evaluated by LAMMPS' pair style %s (--pair-style none: by nequip's modules)", style)
        return PairModel(style, str(folder / FORMS[form]), list(self.names))


def _choose(styles: Sequence[str], family: str, ranks: int) -> str:
    """The style that serves a model; empty if none does."""
    if family == FAMILIES[1] and ALLEGRO in styles:
        return ALLEGRO
    if family == FAMILIES[0] and NEQUIP in styles and ranks == 1:
        return NEQUIP
    return MLIAP if MLIAP in styles else ""
