#!/usr/bin/python
"""Ansible module: checks whether a lab can be built, and lists its boards."""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_machine import (
    kernel_problems,
    machine_problems,
    missing_packages,
    needs_memory,
    neighbour_problems,
    network_problems,
)
from ansible.module_utils.lab_settings import Settings, added_boards, setting_problems
from ansible.module_utils.lab_share import equal_share

DOCUMENTATION = r"""
module: lab_plan
short_description: Check a lab's settings and this machine, and list the lab's boards
description:
  - Reports all problems with their remedies before anything is created. Changes nothing.
  - What only root can find out (whether the kernel can make namespaces, an overlay, a shaped link; whether another lab
    has the interface) is looked at when the module runs as root and no program is missing; C(complete) tells.
options:
  listed:
    description: The inventory's boards, name to address, in rank order.
    type: dict
    required: true
  boards:
    description: Number of boards to run. More than are listed are added.
    type: int
    required: true
  lab_dir:
    description: The lab's folder.
    type: str
    required: true
  python_env:
    description: The boards' Python environment on this machine.
    type: str
    required: true
  link_rate:
    description: Rate of each board's link, in tc's syntax.
    type: str
    required: true
  interface:
    description: This machine's network interface to the boards.
    type: str
    required: true
  address:
    description: Its address, with the prefix length.
    type: str
    required: true
  dresses:
    description: What boards look like, each once; empty for plain emulated boards.
    type: list
    elements: str
    default: []
  core_share:
    description: The share of a core that each board gets, 0 to 1; 0 shares the machine's cores out equally.
    type: float
    default: 0
  password_users:
    description: The users that log in with a password, of boards that have one.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Check the lab's requirements
  lab_plan:
    listed: {board-1: 198.18.77.11, board-2: 198.18.77.12}
    boards: 2
    lab_dir: /srv/kit/.lab
    python_env: /srv/kit/.board-venv
    link_rate: 120mbit
    interface: cklab0
    address: 198.18.77.1/24
  register: plan
"""

RETURN = r"""
problems:
  description: What is wrong, and what to do about it; empty if the lab can be built.
  type: list
  returned: always
missing_packages:
  description: Debian packages to install first.
  type: list
  returned: always
complete:
  description: Whether also that was checked which only root can.
  type: bool
  returned: always
in_memory:
  description: Whether boards must keep their changes in memory, for lack of a file system that an overlay can use.
  type: bool
  returned: always
core_share:
  description: The share of a core that each board gets.
  type: float
  returned: always
boards:
  description: All boards the lab will have, name to address; empty if the settings are wrong.
  type: dict
  returned: always
added:
  description: Those of them that the inventory does not list, as an inventory's hosts.
  type: dict
  returned: always
  sample: {board-3: {ansible_host: 198.18.77.13}}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "listed": {"type": "dict", "required": True},
            "boards": {"type": "int", "required": True},
            "lab_dir": {"type": "str", "required": True},
            "python_env": {"type": "str", "required": True},
            "link_rate": {"type": "str", "required": True},
            "interface": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "dresses": {"type": "list", "elements": "str", "default": []},
            "core_share": {"type": "float", "default": 0},
            "password_users": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    settings = Settings(**module.params)
    wrong_settings = setting_problems(settings)
    look = bool(any(settings.dresses) or settings.password_users)
    wrong_machine = machine_problems(look) + neighbour_problems(settings.boards)
    missing = missing_packages(look)
    complete = os.geteuid() == 0 and not missing and not wrong_machine
    if complete:
        wrong_machine = network_problems(settings) + kernel_problems(settings.lab_dir)
    added = {} if wrong_settings else added_boards(settings)
    module.exit_json(
        problems=wrong_settings + wrong_machine,
        missing_packages=missing,
        complete=complete,
        in_memory=complete and needs_memory(settings.lab_dir),
        core_share=settings.core_share or equal_share(max(settings.boards, 1), len(os.sched_getaffinity(0))),
        boards={} if wrong_settings else {**settings.listed, **added},
        added={name: {"ansible_host": address} for name, address in added.items()},
    )


if __name__ == "__main__":
    main()
