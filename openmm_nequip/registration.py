"""The name ``nequip`` in OpenMM-ML, without importing anything until a potential is made.

OpenMM-ML loads what the entry points ``openmmml.potentials`` and ``openmmml.embeddings`` name while it is imported
itself. The classes here have its factories' methods and not their base classes, since importing those would import
OpenMM-ML in the middle of its own import, or before the user asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from .choices import POTENTIAL_NAME
from .upstream.import_hooks import after_import

if TYPE_CHECKING:
    from .potential import NequIPPotentialImpl


class NequIPPotentialImplFactory:
    """Creates :class:`openmm_nequip.NequIPPotentialImpl` for OpenMM-ML, as its ``MLPotentialImplFactory``."""

    def createImpl(self, name: str, **args: Any) -> NequIPPotentialImpl:
        """Create the implementation.

        Parameters
        ----------
        name : str
            Name given to MLPotential.
        args
            ``modelPath`` and any field of :class:`openmm_nequip.options.Options`.

        Returns
        -------
        NequIPPotentialImpl

        Raises
        ------
        TypeError
            If ``modelPath`` is missing or a keyword is unknown.
        ModelFileError
            If the file is not a model.
        """
        if args.get("modelPath") is None and args.get("committee") is None:
            raise TypeError(
                f"MLPotential({name!r}, ...) needs modelPath=: a .ckpt, .nequip.zip, .nequip.pth or .nequip.pt2 file, "
                "a deployed .pth, or a nequip.net: id; or committee=, a list of these"
            )
        from .options import Options, check_keywords
        from .potential import NequIPPotentialImpl

        check_keywords(args, ["modelPath", *Options.names()], f"MLPotential({name!r}, ...)")
        return NequIPPotentialImpl(name, **{"modelPath": None, **args})


class RegistrationFactory:
    """An embedding that is none, as OpenMM-ML's ``EmbeddingFactory``: constructing it registers the potential.

    OpenMM-ML has a potential named ``nequip`` of its own, and of two entry points with one name the later wins, in an
    order nobody controls. Its loop over the embeddings runs after the one over the potentials, so what this
    constructor registers holds.
    """

    def __init__(self) -> None:
        register()

    def createEmbedding(self, name: str, **args: Any) -> NoReturn:
        """Refuse: there is no embedding under this name.

        Parameters
        ----------
        name : str
            Name given to ``createMixedSystem``.
        args
            Nothing is read.

        Raises
        ------
        ValueError
            Always.
        """
        raise ValueError(f"embedding={name!r} only registers openmm-nequip; use embedding='mechanical'")


def register() -> None:
    """Make ``MLPotential("nequip", ...)`` ours; imports OpenMM-ML."""
    from openmmml import mlpotential

    _register(mlpotential)


def register_when_imported() -> None:
    """The same once OpenMM-ML is imported, or now if it is.

    The entry points do so, too, where this package is installed; this also holds for a source tree on the path, and for
    a package installed since OpenMM-ML was imported.
    """
    after_import("openmmml.mlpotential", _register)


def _register(mlpotential: Any) -> None:
    # In the middle of its own import it has come to our entry points and is about to register us anyway.
    if hasattr(mlpotential, "MLPotential"):
        # Here and not above: the module imports OpenMM-ML.
        from .upstream.openmm_ml import explain_unknown_names

        mlpotential.MLPotential.registerImplFactory(POTENTIAL_NAME, NequIPPotentialImplFactory())
        explain_unknown_names(mlpotential.MLPotential)
