#!/usr/bin/env bash
# `make rehearse`: emulated boards up, one board, two boards the paper's way, boards down, and a report of the runs.
# A script, because the boards must come down whatever happens, Ctrl-C included.
set -euo pipefail
: "${PLAY:?ansible-playbook with its inventory; call this through make rehearse}"

mkdir -p runs .cache
touch .cache/rehearsal_began # the report is about the runs that begin after this
finish() {
  if [ -n "${KEEP_LAB:-}" ]; then
    echo "The emulated boards are left up; 'make lab-down' ends them."
  else
    $PLAY playbooks/lab_down.yml
  fi
}
trap finish EXIT

$PLAY playbooks/lab_up.yml
for workers in 1 2; do
  $PLAY playbooks/run_experiment.yml -e "workers=$workers"
done
trap - EXIT
finish

mapfile -t runs < <(find runs -mindepth 1 -maxdepth 1 -type d -newer .cache/rehearsal_began)
.venv/bin/python -m analysis compare "${runs[@]}" --report runs/rehearsal.html
