"""``openmm-nequip bench``: what an MD step costs, by what, beside other ways to run the same model."""

from .run import BenchOutcome, run_bench
from .settings import BenchSettings

__all__ = ["BenchOutcome", "BenchSettings", "run_bench"]
