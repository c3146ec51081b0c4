"""The command ``openmm-nequip`` and what its commands do, as functions: read a structure, evaluate it, run, measure.

Only the modules of commands parse arguments, and only :mod:`openmm_nequip.app.cli` prints. Modules that declare
arguments import nothing heavy: OpenMM, torch and the rest are imported when a command runs.
"""
