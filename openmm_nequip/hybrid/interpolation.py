"""Going from the force field to the model and back with one global parameter.

With λ the parameter, the hybrid System's energy is

.. math:: E(\\lambda) = E_\\mathrm{common} + \\lambda (E_\\mathrm{model} - E_\\mathrm{self})
          + (1 - \\lambda) (E_\\mathrm{bonded} + D),

where ``E_bonded`` are the bonded terms that the model replaces, ``D`` the force field's non-bonded energy inside the
regions (:func:`openmm_nequip.hybrid.nonbonded.region_energy`) and ``E_self`` the subtracted lattice sums of
``mlLongRange=True``.  λ = 1 is the hybrid System, λ = 0 the force field.

Every product is a CustomCVForce, which scales any force and gives ∂E/∂λ
(``context.getState(getParameterDerivatives=True)``).  There are several of them for two reasons: terms keep the force
group of the force that they came from, so that multiple time steps stay possible, and forces with different excluded
pairs cannot share the inner Context of one CustomCVForce on the CPU, CUDA and OpenCL platforms.

At λ exactly 0 the model is not evaluated: its force reads the parameter and returns zeros.  The derivative reported
there is that of the force-field side alone, ``-(E_bonded + D)``; for thermodynamic integration take the end point at
a small λ such as 1e-6, where the model is evaluated.
"""

from collections.abc import Sequence

import openmm

from ..choices import FORCE_NAME

#: Names of the products; a force that starts with the name of the model's force is known as this package's own.
MODEL_NAME = f"{FORCE_NAME}InterpolatedModel"
FORCE_FIELD_NAME = f"{FORCE_NAME}InterpolatedForceField"
EXCLUSIONS_NAME = f"{FORCE_NAME}InterpolatedExclusions"
RECHARGED_NAME = f"{FORCE_NAME}InterpolatedNonbonded"
SELF_ENERGY_NAME = f"{FORCE_NAME}RegionSelfEnergy"

#: OpenMM numbers collective variables by force group, of which there are 32.
MAX_VARIABLES = 32

#: Value of the parameter in a new Context: the model.
DEFAULT_LAMBDA = 1.0


def weighted_forces(
    name: str, weight: str, forces: Sequence[openmm.Force], group: int, lambda_name: str | None
) -> list[openmm.CustomCVForce]:
    """Multiply the sum of some forces by an expression.

    Parameters
    ----------
    name : str
        Name of the result.
    weight : str
        Factor, an expression of the parameter.
    forces : sequence of openmm.Force
        Forces that belong to no System yet; the result takes them over.
    group : int
        Force group of the result.
    lambda_name : str or None
        The global parameter that `weight` depends on, None if on none.

    Returns
    -------
    list of openmm.CustomCVForce
        One force for every 32 of `forces`, with the derivative by the parameter switched on.
    """
    result = []
    for start in range(0, len(forces), MAX_VARIABLES):
        chunk = forces[start : start + MAX_VARIABLES]
        names = [f"term{start + i}" for i in range(len(chunk))]
        weighted = openmm.CustomCVForce(f"({weight})*({'+'.join(names)})")
        for variable, force in zip(names, chunk, strict=True):
            weighted.addCollectiveVariable(variable, force)
        if lambda_name is not None:
            weighted.addGlobalParameter(lambda_name, DEFAULT_LAMBDA)
            weighted.addEnergyParameterDerivative(lambda_name)
        weighted.setName(name)
        weighted.setForceGroup(group)
        result.append(weighted)
    return result


def by_group(forces: Sequence[tuple[int, openmm.Force]]) -> dict[int, list[openmm.Force]]:
    """Collect forces by force group."""
    groups: dict[int, list[openmm.Force]] = {}
    for group, force in forces:
        groups.setdefault(group, []).append(force)
    return groups
