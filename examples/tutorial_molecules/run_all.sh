#!/usr/bin/env bash
# All commands of README.md, in a copy of this folder; stops at the first error.
set -euo pipefail
export OMP_NUM_THREADS=1

python 1_data.py
nequip-train -cp "$PWD" -cn 2_train
nequip-package build first/best.ckpt first.nequip.zip
nequip-compile first.nequip.zip first.nequip.pt2 --mode aotinductor --device cpu --target openmm
openmm-nequip run --config 5_run.toml
python 6_relabel.py
nequip-train -cp "$PWD" -cn 7_finetune
nequip-package build tuned/best.ckpt tuned.nequip.zip
python 8_compare.py
nequip-compile tuned.nequip.zip tuned.nequip.pt2 --mode aotinductor --device cpu --target openmm
openmm-nequip run --config 5_run.toml --model tuned.nequip.pt2 --output run2 --seed 2
python 6_relabel.py --run run2
python 8_compare.py --run run2 --output errors2
