#!/usr/bin/env bash
# `make rehearse`: emulated boards up, one board, two boards the paper's way, two boards the
# fast way, boards down, and a report of the runs.
. playbooks/lab_session.sh

mkdir -p runs .cache
touch .cache/rehearsal_began # the report is about the runs that begin after this

play playbooks/lab_up.yml
play playbooks/run_experiment.yml -e workers=1
# what two boards will take is known before they train: from this run, and from the probe that found the link's rate
one=$(find runs -mindepth 1 -maxdepth 1 -type d -name '[0-9]*-s[0-9]' -newer .cache/rehearsal_began)
read -r probe link < <(.venv/bin/python -c "import json
found = json.load(open('.cache/lab_calibration.json'))
print('.cache/probes/' + found['run_id'], found['link_rate_bit_per_s'] / 1e6)")
if [ -d "$probe" ]; then
  .venv/bin/python -m analysis predict --from "$one" "$probe" --workers 2 --link "$link"
fi
play playbooks/run_experiment.yml -e workers=2
play playbooks/run_experiment.yml -e workers=2 -e experiment=rehearsal_fast
finish

mapfile -t runs < <(find runs -mindepth 1 -maxdepth 1 -type d -name '[0-9]*-s[0-9]' -newer .cache/rehearsal_began)
.venv/bin/python -m analysis compare "${runs[@]}" --report runs/rehearsal.html
