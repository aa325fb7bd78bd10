#!/usr/bin/env bash
# `make provision-rehearsal`: two emulated boards dressed as fresh Orins are provisioned (the second time changes
# nothing), checked and put back.
. playbooks/lab_session.sh

play playbooks/lab_up.yml -e lab_dress=orin -e lab_link_rate=1gbit
play playbooks/provision.yml
play playbooks/provision.yml
play playbooks/check.yml
play playbooks/restore.yml
