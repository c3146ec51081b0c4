#!/usr/bin/env bash
# Test the supported stacks, each in a virtual environment of its own that this script makes.
# Usage: bash tests/run.sh [fast] [pythonforce] [torchforce]
#   fast                     without the tests marked slow
#   pythonforce, torchforce  one stack alone; both by default. tests/stacks.py says what runs where.
# PYTHON names the interpreter for new environments, TEST_PROCESSES the number of test processes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
cores=$(getconf _NPROCESSORS_ONLN)
processes=${TEST_PROCESSES:-$((cores < 4 ? cores : 4))}
fast=() stacks=()
for word in "$@"; do
  case "$word" in
    fast) fast=(--fast) ;;
    pythonforce | torchforce) stacks+=("$word") ;;
    *)
      echo "unknown word '$word'; use fast, pythonforce or torchforce" >&2
      exit 2
      ;;
  esac
done
[ ${#stacks[@]} -eq 1 ] || stacks=(pythonforce torchforce)
# One cache for both: what is compiled with torch has torch's version in its name, the rest serves both.
export OPENMM_NEQUIP_CACHE="$PWD/.venv-cache"
mkdir -p "$OPENMM_NEQUIP_CACHE"
stamp=$(cat setup.cfg pyproject.toml constraints*.txt tests/run.sh | cksum)

requirements() { # requirements STACK: its environment with everything but this package
  local venv=".venv-$1" pip
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  pip=("$venv/bin/python" -m pip install --quiet)
  "${pip[@]}" --upgrade pip
  case "$1" in
    pythonforce)
      "${pip[@]}" -c constraints.txt -e ".[test,conda,docs,publish,torchmdnet]"
      ;;
    torchforce)
      # openmmml 1.8 asks for OpenMM >= 8.6.1 but runs with 8.5.2, which openmmtorch 1.5 needs: hence --no-deps.
      "${pip[@]}" -c constraints-torchforce.txt torch openmm openmmtorch nequip nequip-allegro ase matplotlib mdtraj \
        numpy pymbar scipy tqdm vesin vesin-torch tblite filelock pytest pytest-xdist pyyaml torchmd-net wheel
      "${pip[@]}" --no-deps openmmml==1.8
      ;;
  esac
}

package() { # package STACK: this package itself, which is built in the checkout: not while tests run there
  [ "$1" = pythonforce ] || ".venv-$1/bin/python" -m pip install --quiet --no-deps --no-build-isolation -e .
  echo "$stamp" >".venv-$1/installed"
}

outdated() { # outdated STACK: whether the environment is not that of the files as they are
  [ "$(cat ".venv-$1/installed" 2>/dev/null)" != "$stamp" ]
}

check() { # check STACK: what is not a test
  [ "$1" = pythonforce ] || return 0
  .venv-pythonforce/bin/ruff check . && .venv-pythonforce/bin/mypy
}

run_tests() { # run_tests STACK
  case "$1" in
    pythonforce) export OPENMM_NEQUIP_EXPECT_BACKENDS=PythonForce OPENMM_NEQUIP_REQUIRE_CONDA=1 ;;
    torchforce)
      export OPENMM_NEQUIP_EXPECT_BACKENDS=PythonForce,TorchForce
      unset OPENMM_NEQUIP_REQUIRE_CONDA
      ;;
  esac
  export OPENMM_NEQUIP_REQUIRE_TORCHMDNET=1
  # Whole files go to a process, as their tests share what they made; the longest files first (tests/stacks.py).
  ".venv-$1/bin/python" -m pytest -q --durations=10 --stack "$1" ${fast[@]+"${fast[@]}"} \
    -n "$processes" --dist loadfile --no-loadscope-reorder
}

bash tests/pocl.sh "$OPENMM_NEQUIP_CACHE/pocl" || echo "tests of OpenCL are skipped"
failed=()
first=${stacks[0]}
if outdated "$first"; then
  echo "== $first: installing into .venv-$first"
  requirements "$first"
  package "$first"
fi
for i in "${!stacks[@]}"; do
  stack=${stacks[$i]} next=${stacks[$((i + 1))]:-} installing=
  if [ -n "$next" ] && outdated "$next"; then
    echo "== $next: installing into .venv-$next, in the background"
    requirements "$next" >".venv-cache/install-$next.log" 2>&1 &
    installing=$!
  fi
  echo "== $stack: checking and testing"
  check "$stack" >".venv-cache/check-$stack.log" 2>&1 &
  checking=$!
  run_tests "$stack" || failed+=("tests of $stack")
  wait "$checking" || failed+=("ruff or mypy, for $stack")
  cat ".venv-cache/check-$stack.log"
  if [ -n "$installing" ]; then
    if ! wait "$installing"; then
      cat ".venv-cache/install-$next.log"
      failed+=("installation of $next")
      break
    fi
    package "$next"
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failed[@]}" >&2
  exit 1
fi
