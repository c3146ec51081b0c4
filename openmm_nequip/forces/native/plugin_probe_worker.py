"""Load our force and compute with it: run as a script, by :mod:`openmm_nequip.forces.native.plugin_probe`.

It imports nothing of this package: libraries made for another OpenMM may end the process.
"""

import ctypes
import sys

import openmm

_DESCRIBE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
_OPEN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int))
_EVALUATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int, *[ctypes.POINTER(ctypes.c_double)] * 4)


class Host(ctypes.Structure):
    """The functions that the force calls."""

    _fields_ = [("describe", _DESCRIBE), ("open", _OPEN), ("evaluate", _EVALUATE)]


def evaluate(number: int, count: int, positions, box, energy, forces) -> int:
    """Energy = sum of squared coordinates; as ``Host`` of native_force.hpp says.

    Parameters
    ----------
    number : int
        What :func:`open_potential` gave.
    count : int
        Number of particles.
    positions, box, energy, forces : pointer
        Numbers, of which the last two are written.

    Returns
    -------
    int
        0 if all went well.
    """
    energy[0] = 0.0
    for i in range(3 * count):
        energy[0] += positions[i] ** 2
        forces[i] = -2 * positions[i]
    return int(number != 7)


def open_potential(potential: bytes, number) -> int:
    """The number 7 for a potential of text 00; as :func:`evaluate`."""
    number[0] = 7
    return int(potential != b"00")


def main() -> None:
    """Read a force, copy it, and evaluate it at (1, 2, 3) on the Reference platform."""
    force_library, *platforms = sys.argv[1:]
    library = ctypes.CDLL(force_library, mode=ctypes.RTLD_GLOBAL)
    library.nequip_start.restype = ctypes.c_char_p
    host = Host(_DESCRIBE(lambda potential, place, to: 1), _OPEN(open_potential), _EVALUATE(evaluate))
    if problem := library.nequip_start(ctypes.byref(host)):
        sys.exit(problem.decode())
    for path in platforms:
        platform = ctypes.CDLL(path)
        platform.nequip_register.restype = ctypes.c_char_p
        if problem := platform.nequip_register():
            sys.exit(problem.decode())
    said = 'forceGroup="3" function="00" name="probe" parameter="" type="NequIPForce" usesPeriodic="0" version="1"'
    force = openmm.XmlSerializer.deserialize(f"<Force {said}/>")
    system = openmm.System()
    system.addParticle(1.0)
    system.addForce(force)
    system = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system))
    if system.getForce(0).getForceGroup() != 3 or system.getForce(0).getName() != "probe":
        sys.exit("XML lost something")
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions([openmm.Vec3(1, 2, 3)])
    energy = context.getState(getEnergy=True, getForces=True).getPotentialEnergy()._value
    if abs(energy - 14) > 1e-6:
        sys.exit(f"the force gave {energy}, expected 14")


if __name__ == "__main__":
    main()
