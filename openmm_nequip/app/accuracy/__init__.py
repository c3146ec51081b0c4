"""``openmm-nequip test``: how far a model is from reference energies, forces and stresses."""
