"""Workers for many runs: processes here, jobs of a SLURM or PBS cluster, or those of a scheduler that is there."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from ...errors import UnavailableError
from .run_table import RunTable

#: A worker that dies takes its run down; the run is blamed only after so many.
_ALLOWED_FAILURES = 10
_CONNECT_S = "15s"
#: For processes that are started here, and have no other machine to blame: Dask's own limits of half a minute pass on a
#: busy machine before a process of Python has read its modules.
_START_S = "600s"
_LOOPBACK = "tcp://127.0.0.1:0"


def local_workers(table: RunTable, gpus: int) -> int:
    """How many runs go at a time on this machine: as asked for, one for each GPU, or one for each core."""
    return min(table.workers or gpus or os.cpu_count() or 1, len(table.runs))


@contextlib.contextmanager
def client_of(table: RunTable, gpus: int) -> Iterator[Any]:
    """A Dask client with workers.

    Parameters
    ----------
    table : RunTable
        Says which.
    gpus : int
        Number of GPUs that local workers share out, each seeing one; 0 for runs on CPUs.

    Yields
    ------
    distributed.Client

    Raises
    ------
    UnavailableError
        If there is no scheduler at the address, or dask-jobqueue is not installed.
    """
    import dask
    from distributed import Client

    here = table.scheduler == "local"
    patience = {f"distributed.comm.timeouts.{name}": _START_S for name in ("connect", "tcp")} if here else {}
    with dask.config.set(patience | {
        "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
        "distributed.worker.daemon": False,
        "logging.distributed": "error",
    }):  # fmt: skip
        if "://" in table.scheduler:
            try:
                client = Client(table.scheduler, timeout=_CONNECT_S)
            except (OSError, TimeoutError, ValueError) as error:
                raise UnavailableError(f"no Dask scheduler answers at {table.scheduler}: {error}") from error
            with client:
                yield client
            return
        with _cluster(table, gpus) as cluster, Client(cluster, timeout=_START_S if here else _CONNECT_S) as client:
            yield client


def _cluster(table: RunTable, gpus: int) -> Any:
    if table.scheduler == "local":
        return _local(local_workers(table, gpus), gpus)
    try:
        from dask_jobqueue import PBSCluster, SLURMCluster
    except ImportError as error:
        raise UnavailableError(
            f'scheduler = "{table.scheduler}" needs dask-jobqueue, which is not installed: pip install dask-jobqueue'
        ) from error
    make = {"slurm": SLURMCluster, "pbs": PBSCluster}[table.scheduler]
    try:
        cluster = make(**{"cores": 1, "processes": 1, "memory": "4GB"} | table.queue)
    except (TypeError, ValueError) as error:
        raise UnavailableError(f"[queue] is not as dask-jobqueue wants it: {error}") from error
    cluster.scale(min(table.workers or len(table.runs), len(table.runs)))
    return cluster


def _local(count: int, gpus: int) -> Any:
    """Worker processes with one task each, that are started again where they die."""
    from distributed import Nanny, Scheduler, SpecCluster

    workers = {}
    for number in range(count):
        environment = {"DASK_LOGGING__DISTRIBUTED": "error"}
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = str(number % gpus)
        options = {
            "nthreads": 1, "memory_limit": 0, "host": _LOOPBACK, "dashboard": False, "env": environment,
            "silence_logs": logging.ERROR,
        }  # fmt: skip
        workers[number] = {"cls": Nanny, "options": options}
    scheduler = {"cls": Scheduler, "options": {"host": _LOOPBACK, "dashboard": False}}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR)
