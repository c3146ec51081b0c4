#!/usr/bin/env bash
# Test both supported stacks, each in a virtual environment of its own that this script makes.
# Usage: bash tests/run.sh [pythonforce] [torchforce]     (both by default)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
stacks=("$@")
[ ${#stacks[@]} -gt 0 ] || stacks=(pythonforce torchforce)

fresh() { # fresh FOLDER: a virtual environment, kept if it is already there
  [ -x "$1/bin/python" ] || "$python" -m venv "$1"
  "$1/bin/python" -m pip install --quiet --upgrade pip
}

for stack in "${stacks[@]}"; do
  venv=".venv-$stack"
  echo "== $stack: installing into $venv"
  fresh "$venv"
  export OPENMM_NEQUIP_CACHE="$PWD/$venv/model-cache"
  case "$stack" in
    pythonforce)
      "$venv/bin/python" -m pip install --quiet -c constraints.txt -e ".[test,conda]"
      "$venv/bin/ruff" check .
      "$venv/bin/mypy"
      export OPENMM_NEQUIP_EXPECT_BACKENDS=PythonForce OPENMM_NEQUIP_REQUIRE_CONDA=1
      ;;
    torchforce)
      # openmmml 1.8 asks for OpenMM >= 8.6.1 but runs with 8.5.2, which openmmtorch 1.5 needs: hence --no-deps.
      "$venv/bin/python" -m pip install --quiet -c constraints-torchforce.txt torch openmm openmmtorch nequip \
        nequip-allegro ase matplotlib mdtraj numpy tqdm vesin vesin-torch tblite pytest pyyaml "setuptools>=68" wheel
      "$venv/bin/python" -m pip install --quiet --no-deps openmmml==1.8
      "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
      export OPENMM_NEQUIP_EXPECT_BACKENDS=PythonForce,TorchForce
      unset OPENMM_NEQUIP_REQUIRE_CONDA
      ;;
    *)
      echo "unknown stack '$stack'; use pythonforce or torchforce" >&2
      exit 2
      ;;
  esac
  echo "== $stack: testing"
  "$venv/bin/python" -m pytest -q --durations=10
done
