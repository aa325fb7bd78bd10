#!/usr/bin/env bash
# `make rehearse`: starts emulated boards, runs the study studies/rehearsal.yml once (one board, two boards with plain
# Keras, two with local SGD), writes its report and stops the boards. The next call repeats the runs.
. playbooks/lab_session.sh

play playbooks/lab_up.yml
play playbooks/run_study.yml -e study=rehearsal -e '{"study_repeats": 1, "study_again": true, "study_measure": false}'
finish
