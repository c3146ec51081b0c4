#!/usr/bin/env bash
# OpenCL on a CPU for the tests: pocl from Debian's packages, unpacked into a folder and never installed, because OpenMM
# would choose the OpenCL platform for everybody on the machine.
# Usage: bash tests/pocl.sh FOLDER
set -euo pipefail
folder=$(realpath -m "${1:?usage: bash tests/pocl.sh FOLDER}")
[ ! -e "$folder/icd/pocl.icd" ] || exit 0
packages=(
  pocl-opencl-icd libpocl2 libpocl2-common clang-15 libclang-common-15-dev libclang-cpp15 libllvm15 libhwloc15 libclang1-15
  libz3-4 libedit2 libbsd0 libmd0 libltdl7 ocl-icd-libopencl1 opencl-c-headers opencl-clhpp-headers
)
command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
  echo "pocl: no apt-get and dpkg here; the OpenCL platform is not tested" >&2
  exit 1
}
work="$folder.part"
rm -rf "$work"
mkdir -p "$work/debs" "$work/icd"
cd "$work/debs"
apt-get download "${packages[@]}" >/dev/null 2>&1 || {
  apt-get update >/dev/null 2>&1 || true
  apt-get download "${packages[@]}" >/dev/null
}
for package in *.deb; do dpkg -x "$package" "$work"; done
rm -r "$work/debs"
library=$(cd "$work" && find usr/lib -name 'libpocl.so.*' -type f | head -1)
# It names the library where it will lie, and is made last: with it the folder is whole.
echo "$folder/$library" >"$work/icd/pocl.icd"
rm -rf "$folder"
mv "$work" "$folder"
