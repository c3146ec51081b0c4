"""A model applied to the particles of a force: from OpenMM's nm and kJ/mol to the model's units and back."""
