#!/usr/bin/env bash
# `make provision-rehearsal`: two emulated boards dressed as fresh Orins are provisioned (the second time changes
# nothing), checked and put back. A script, because the boards must come down whatever happens, Ctrl-C included.
set -euo pipefail
: "${PLAY:?ansible-playbook with its inventory; call this through make provision-rehearsal}"

finish() {
  if [ -n "${KEEP_LAB:-}" ]; then
    echo "The emulated boards are left up; 'make lab-down' ends them."
  else
    $PLAY playbooks/lab_down.yml
  fi
}
trap finish EXIT

$PLAY playbooks/lab_up.yml -e lab_dress=orin -e lab_link_rate=1gbit
$PLAY playbooks/provision.yml
$PLAY playbooks/provision.yml
$PLAY playbooks/check.yml
$PLAY playbooks/restore.yml
