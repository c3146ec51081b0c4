"""Words that the messages of the builder share."""

import openmm


def describe(force: openmm.Force) -> str:
    """Name a force by class and, where it was given one, by name."""
    kind = type(force).__name__
    name = force.getName()
    return kind if name == kind else f"{kind} '{name}'"
