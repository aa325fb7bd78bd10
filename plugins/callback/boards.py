"""Every play of the kit's playbooks has a host."""

from controller.plugins.boards import CallbackModule as CallbackModule

DOCUMENTATION = """
name: boards
type: aggregate
short_description: Require that every play of the kit's playbooks has a host
description:
  - Ansible skips a play that no host takes part in, and exits with 0. For the playbooks in C(playbooks/) this one ends
    the command instead, with the reason and the remedy, where the inventory has no host in the group C(boards), and
    where C(--limit) leaves none for a play.
  - No play could do that - with an empty inventory and C(--limit), none of them has a host - and none can be forgotten.
"""
