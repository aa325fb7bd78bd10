#!/usr/bin/env bash
# `make rehearse`: emulated boards up, the study studies/rehearsal.yml once (one board, two boards with Keras' own
# method, two with local SGD) and its report, boards down. The next call makes its runs anew.
. playbooks/lab_session.sh

play playbooks/lab_up.yml
play playbooks/run_study.yml -e study=rehearsal -e '{"study_repeats": 1, "study_again": true, "study_measure": false}'
finish
