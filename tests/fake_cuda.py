"""torch's CUDA graphs, streams and memory pools without a GPU: a stand-in that keeps torch's own rules.

The rules are those of ``CUDAGraph.cpp`` and ``CUDACachingAllocator.cpp`` of torch 2.9 to 2.13: one recording at a time;
ending a spoilt one raises before the allocator is told; a pool whose last graph has gone cannot be used again while a
tensor lives in it.
"""

from __future__ import annotations

import contextlib
import threading
import types
import weakref

import torch
from static import Tape

from openmm_nequip.evaluate import recording


class FakeStream:
    """A CUDA stream that writes down what is asked of it."""

    def __init__(self, log, name="stream"):
        self.log, self.name = log, name

    def wait_stream(self, other):
        self.log.append("wait")

    def synchronize(self):
        self.log.append("synchronize")


class FakeCuda:
    """The state of a process: streams of threads, the recording that is underway, pools."""

    def __init__(self):
        self.log: list[str] = []
        self.recording = None
        self.spoilt = False
        self.underway: set = set()
        self.uses: dict = {}
        self.tensors: dict = {}
        #: Results of recordings, where somebody holds on to them, as a cache of torch may.
        self.held: list | None = None
        self.default = FakeStream(self.log, "default")
        self._streams = threading.local()
        self._pools = 0

    def install(self, monkeypatch):
        """Put it in the place of torch's own."""
        recording.recording_place.cache_clear()
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: FakeStream(self.log))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: self.stream)
        monkeypatch.setattr(torch.cuda, "stream", self.on_stream)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.log.append("synchronize all"))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
        monkeypatch.setattr(recording, "gc", types.SimpleNamespace(collect=lambda: None))  # takes its time in tests
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", self.new_pool)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: FakeGraph(self))
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.end_allocation, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", self.release, raising=False)
        pinned = lambda self, size: torch.zeros(size, dtype=torch.float64)  # noqa: E731
        monkeypatch.setattr(recording.CudaRecorder, "buffer", pinned)
        return self

    @property
    def stream(self):
        return getattr(self._streams, "current", self.default)

    @contextlib.contextmanager
    def on_stream(self, stream):
        before, self._streams.current = self.stream, stream
        try:
            yield
        finally:
            self._streams.current = before

    def new_pool(self):
        self._pools += 1
        return (0, self._pools)

    def end_allocation(self, index, pool):
        if pool not in self.underway:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.underway.remove(pool)

    def release(self, index, pool):
        assert self.uses[pool] > 0
        self.uses[pool] -= 1


class FakeGraph:
    """A CUDA graph whose memory is the result of the last operation of a tape."""

    def __init__(self, cuda):
        self.cuda, self.ended = cuda, False

    def capture_begin(self, pool, capture_error_mode):
        cuda = self.cuda
        assert capture_error_mode == "thread_local" and cuda.stream is not cuda.default
        if cuda.recording is not None:
            raise RuntimeError("another recording is underway")
        if cuda.uses.get(pool) == 0 and pool in cuda.tensors and cuda.tensors[pool]() is not None:
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED")
        cuda.uses[pool] = cuda.uses.get(pool, 0) + 1
        cuda.underway.add(pool)
        cuda.recording, cuda.spoilt, self.pool, self.stream = self, False, pool, cuda.stream
        cuda.log.append("record")
        self.tape = Tape()
        self.tape.__enter__()

    def capture_end(self):
        cuda = self.cuda
        if cuda.recording is not self:
            raise RuntimeError("the stream is not recording")
        assert cuda.stream is self.stream
        self.tape.__exit__(None, None, None)
        cuda.recording = None
        if cuda.spoilt:
            raise RuntimeError("operation failed due to a previous error during capture")
        cuda.end_allocation(0, self.pool)
        if self.tape.alive:
            cuda.tensors[self.pool] = weakref.ref(self.tape.alive[-1])
            if cuda.held is not None:
                cuda.held.append(self.tape.alive[-1])
        self.ended = True

    def replay(self):
        self.tape.alive[-1].copy_(self.tape.run()[-1])

    def __del__(self):
        if self.ended:
            self.cuda.release(0, self.pool)
