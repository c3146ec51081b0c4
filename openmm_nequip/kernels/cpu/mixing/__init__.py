"""Allegro models of nequip <= 0.6 on CPUs: layers that mix the channels of the tensors of an edge."""

#: The header that makes a step of the others, as network_step.inc names it.
MIXING_STEP = "mixing_step.hpp"
