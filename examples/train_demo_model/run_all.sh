#!/usr/bin/env bash
# Everything, from the starting geometry to the validated model: run_all.sh FOLDER (a scratch folder, made if missing).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
mkdir -p "$1" && cd "$1"
# The configurations use relative paths, so everything runs in this folder.
export TORCHINDUCTOR_CACHE_DIR=$PWD/inductor
train() { "$python" -c "from nequip.scripts.train import main; main()" -cp "$here" "$@"; }

# Data: two halves of the training set at the same time; validation and test frames from other seeds.
"$python" "$here/sample.py" --seed 11 --starts 240 --output train_11.xyz & first=$!
"$python" "$here/sample.py" --seed 12 --starts 240 --output train_12.xyz & second=$!
wait "$first" && wait "$second"  # one wait for both would hide the failure of the first
cat train_11.xyz train_12.xyz > train.xyz
"$python" "$here/sample.py" --seed 13 --starts 55 --output test.xyz
"$python" "$here/sample.py" --seed 14 --starts 18 --output val.xyz

# Stage 1, frames of its own MD, stage 2
train -cn train
"$python" "$here/package.py" stage1/best.ckpt stage1.nequip.zip
"$python" "$here/relabel.py" --model stage1.nequip.zip
train -cn finetune
"$python" "$here/package.py" stage2/best.ckpt alanine-dipeptide.nequip.zip

"$python" "$here/validate.py" alanine-dipeptide.nequip.zip --output alanine-dipeptide
