"""Requires hosts for all plays of the kit's playbooks."""

from controller.plugins.boards import CallbackModule as CallbackModule

DOCUMENTATION = """
name: boards
type: aggregate
short_description: Require that every play of the kit's playbooks has a host
description:
  - Ansible skips a play without hosts, and exits with 0. For the playbooks in C(playbooks/) this callback ends the
    command instead, with the reason and the remedy, if the inventory has no host in the group C(boards), or if
    C(--limit) leaves a play without hosts.
  - It is a callback because a play cannot do this if no play has a host, and because no playbook can omit it.
"""
