"""Compute one TorchForce and say what else openmmtorch has: run as a script, by :mod:`openmm_nequip.forces.probe`.

It imports nothing of this package: with the wrong pair of torch and openmmtorch the process dies.
"""

import json
import sys

# torch first: openmmtorch finds the CUDA libraries only after torch has loaded them.
import torch  # isort: skip
import openmm
import openmmtorch


class Square(torch.nn.Module):
    """Energy = sum of squared coordinates."""

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """Energy () of positions (n, 3)."""
        return (positions**2).sum()


def main() -> None:
    """Evaluate it at (1, 2, 3) on the Reference platform."""
    system = openmm.System()
    system.addParticle(1.0)
    system.addForce(openmmtorch.TorchForce(torch.jit.script(Square())))
    # A plugin built against an older OpenMM computes but crashes here.
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([openmm.Vec3(1, 2, 3)])
    energy = context.getState(getEnergy=True, getForces=True).getPotentialEnergy()._value
    if abs(energy - 14) > 1e-6:
        sys.exit(f"TorchForce gave {energy}, expected 14")
    sys.stdout.write(json.dumps({"python": hasattr(openmmtorch, "PythonTorchForce")}) + "\n")


if __name__ == "__main__":
    main()
