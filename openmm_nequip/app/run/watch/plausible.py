"""Every limit of the watch in one place, with the reason.

Distances are multiples of sums of covalent radii (B. Cordero et al., Dalton Trans. 2008, 2832, as tabulated by ASE).
At 300 K bonds vibrate within 10 % of their length, at 1000 K within 20 %.
"""

from __future__ import annotations

#: A bond of the topology longer than this is suspicious, longer than that is broken for good.
BOND_SUSPICIOUS = 1.5
BOND_CERTAIN = 2.5
#: A bond that is longer than its radii say from the start is measured by its start, up to this multiple.
BOND_START = 1.3
#: Atoms of molecules that are not bonded are never as close as a bond; strong hydrogen bonds keep 1.2 times its length.
CONTACT_UNBONDED = 0.9
#: Any two atoms: the shortest bonds (triple bonds) are 0.77 of their radii, vibrations take 15 % of that.
CONTACT_SUSPICIOUS = 0.6
CONTACT_CERTAIN = 0.4
#: An atom without bonds that had a neighbour within the first of these at the start has lost it beyond the second.
NEIGHBOUR_START = 1.4
NEIGHBOUR_LOST = 2.2
#: Probability of a kinetic energy so far from its mean; some ten million looks at a healthy run see it once.
TEMPERATURE_IMPROBABLE = 1e-10
#: A temperature of so many times the one asked for is not reached from it; without a thermostat, of so many.
TEMPERATURE_CERTAIN = 4.0
TEMPERATURE_FREE = 2.0
#: A start that is not relaxed gives its energy off as heat, K, until the thermostat has taken it: after so many times
#: the inverse of its friction.
TEMPERATURE_OF_RELAXATION = 600.0
RELAXATION_TIMES = 3.0
#: The mean temperature of a thermostat is off if it is off by more than so many errors of the mean and this part.
MEAN_TEMPERATURE_ERRORS = 6.0
MEAN_TEMPERATURE_PART = 0.03
#: Fewest independent samples that say so.
MEAN_TEMPERATURE_SAMPLES = 20
#: Change of the total energy in NVE, as a part of the kinetic energy at the temperature of the start.
ENERGY_SUSPICIOUS = 0.05
ENERGY_CERTAIN = 1.0
#: Fewest looks at the energy before its slope means anything.
ENERGY_LOOKS = 20
#: Time step times angular frequency of the fastest vibration: 5 steps a period; Verlet's scheme is unstable from 2 on
#: (B. Leimkuhler and C. Matthews, Molecular Dynamics, Springer 2015, section 2).
TIME_STEP_SUSPICIOUS = 1.25
TIME_STEP_CERTAIN = 2.0
