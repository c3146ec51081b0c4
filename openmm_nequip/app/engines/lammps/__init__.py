"""One system on many MPI ranks: LAMMPS has atoms, domains and integrators, each rank evaluates its part of the model.

The launcher (``rank_processes``) starts ``mpiexec`` with one ``rank_worker`` a rank and keeps the run folder; no rank
has more than its own atoms and those near its borders. Nothing here imports LAMMPS or MPI before a rank does.
"""
