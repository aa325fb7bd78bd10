#!/usr/bin/env bash
# `make rehearse`: controller/rehearsal starts emulated boards, makes the runs of studies/rehearsal.yml, writes their
# report and stops the boards; here sudo's password is asked for.
. playbooks/lab_session.sh

finish() { [ -z "$secret" ] || rm -f "$secret"; } # the boards are the program's
.venv/bin/python -m controller.rehearsal
