#!/usr/bin/env bash
# Build the site with every warning an error, and check the links inside it. Nothing is fetched but packages.
# Usage: bash docs/build.sh [short] [serve]
#   short   the gallery's scripts are shown, not run: for CI
#   serve   show the built site at http://localhost:8000
# DOCS_PYTHON names an interpreter that has this package with its extra docs; without it .venv-docs is made.
set -euo pipefail
cd "$(dirname "$0")/.."
gallery=run serve=
for word in "$@"; do
  case "$word" in
    short) gallery=show ;;
    serve) serve=yes ;;
    *)
      echo "unknown word '$word'; use short or serve" >&2
      exit 2
      ;;
  esac
done
python=${DOCS_PYTHON:-}
if [ -z "$python" ]; then
  python=.venv-docs/bin/python
  stamp=$(cat setup.cfg constraints.txt | cksum)
  if [ "$(cat .venv-docs/installed 2>/dev/null)" != "$stamp" ]; then
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv .venv-docs
    "$python" -m pip install --quiet --upgrade pip
    "$python" -m pip install --quiet -c constraints.txt -e ".[docs]"
    echo "$stamp" >.venv-docs/installed
  fi
fi
export DOCS_GALLERY=$gallery MPLBACKEND=Agg
"$python" -m sphinx -b html -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html
"$python" docs/machinery/check_links.py docs/_build/html
echo "docs/_build/html/index.html"
[ -z "$serve" ] || exec "$python" -m http.server --bind 127.0.0.1 --directory docs/_build/html 8000
