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
# what two boards will take is known before they train: from this run, and from the probe that found the link's rate
one=$(find runs -mindepth 1 -maxdepth 1 -type d -newer .cache/rehearsal_began)
read -r probe link < <(.venv/bin/python -c "import json
found = json.load(open('.cache/lab_calibration.json'))
print('.cache/probes/' + found['run_id'], found['link_rate_bit_per_s'] / 1e6)")
if [ -d "$probe" ]; then
  .venv/bin/python -m analysis predict --from "$one" "$probe" --workers 2 --link "$link"
fi
$PLAY playbooks/run_experiment.yml -e workers=2
$PLAY playbooks/run_experiment.yml -e workers=2 -e experiment=rehearsal_fast
trap - EXIT
finish

mapfile -t runs < <(find runs -mindepth 1 -maxdepth 1 -type d -newer .cache/rehearsal_began)
.venv/bin/python -m analysis compare "${runs[@]}" --report runs/rehearsal.html
