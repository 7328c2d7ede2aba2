#!/usr/bin/env bash
# Installs the wheel of dist/ into an empty environment of each Python given, and runs what a new user would.
#
#   scripts/test_install.sh python3.11 python3.12 python3.13
#
# Options of pip go in its own variables, such as PIP_CONSTRAINT=constraints.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
wheel=$(ls dist/rankfold-*.whl)
[ "$(wc -l <<<"$wheel")" = 1 ] || { echo "dist/ must hold one wheel: rm -r dist, then make dist" >&2; exit 2; }
[ $# -gt 0 ] || { echo "name one Python or more, such as python3.12" >&2; exit 2; }
wheel=$PWD/$wheel
for python in "$@"; do
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  "$python" -m venv "$place/env"
  "$place/env/bin/python" -m pip install --quiet "$wheel"
  # From a folder without the sources, so that the installed package is what runs.
  (
    cd "$place"
    unset PYTHONPATH
    env/bin/rankfold --version
    env/bin/rankfold doctor
    env/bin/rankfold map resnet20 --array 64x64 > map.txt
    env/bin/rankfold demo --epochs 1 --out demo
    test -s demo/report.html
    env/bin/python "$OLDPWD/scripts/extras_hint.py"
  )
  echo "$("$python" --version): installed and run"
  rm -rf "$place"
done
