"""Allegro models on CPUs: headers that go through the edges of a few atoms at once, and what is written for a model."""

#: The header that makes a step of the others, as network_step.inc names it.
ALLEGRO_STEP = "edgewise_step.hpp"
