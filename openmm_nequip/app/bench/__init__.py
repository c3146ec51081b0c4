"""``openmm-nequip bench``: what an MD step costs, by what, beside other ways to run the same model."""
