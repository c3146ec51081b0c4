#!/usr/bin/env bash
# Label, train with TorchMD-Net's own loop, run here. Usage: bash run_all.sh [frames] [epochs] [steps]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "${WORK:-$here}"
python "$here/label.py" "${1:-1000}"
mkdir -p training
torchmd-train --conf "$here/train.yaml" --num-epochs "${2:-60}"
best=$(ls -t training/*.ckpt | head -1)
python -m openmm_nequip info "$best"
python "$here/run.py" "$best" "${3:-2000}"
