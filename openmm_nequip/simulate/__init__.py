"""What the command line does, as functions: read a structure, evaluate it, run dynamics, draw the result.

Nothing here parses arguments or prints; :mod:`openmm_nequip.cli` does.
"""
