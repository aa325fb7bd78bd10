#!/usr/bin/env bash
# `make rehearse`: emulated boards up, one board, two boards the paper's way, two boards the
# fast way, boards down, and a report of the runs.
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
$PLAY playbooks/run_experiment.yml -e workers=1
$PLAY playbooks/run_experiment.yml -e workers=2
$PLAY playbooks/run_experiment.yml -e workers=2 -e experiment=rehearsal_fast
trap - EXIT
finish

mapfile -t runs < <(find runs -mindepth 1 -maxdepth 1 -type d -newer .cache/rehearsal_began)
.venv/bin/python -m analysis compare "${runs[@]}" --report runs/rehearsal.html
