#!/usr/bin/python
"""Ansible module: what emulated boards are like, and what has become of them since."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_processes import LabError
from ansible.module_utils.lab_snapshot import differences, snapshot

DOCUMENTATION = r"""
module: lab_snapshot
short_description: Keep what emulated boards are like, or compare them with that
description:
  - Of a board that is its files (mode, owner, checksum), and what its programs and its kernel tell of its power mode,
    clocks, rules, routes and services.
  - Needs root.
options:
  lab_dir:
    description: The lab's folder.
    type: path
    required: true
  boards:
    description: Names of the boards.
    type: list
    elements: str
    required: true
  path:
    description: File that keeps it. Where it is there, the boards are compared with it, and it stays as it is.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Compare the boards with what they were
  lab_snapshot:
    lab_dir: /srv/kit/.lab
    boards: [board-1, board-2]
    path: /srv/kit/.lab/snapshot.json
  become: true
"""

RETURN = r"""
differences:
  description: For each board what it has otherwise than it had, as text; empty where the file was not there before.
  type: dict
  returned: always
  sample: {board-1: {/etc/motd: was deleted}}
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lab_dir": {"type": "path", "required": True},
            "boards": {"type": "list", "elements": "str", "required": True},
            "path": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    try:
        now = {board: snapshot(module.params["lab_dir"], board) for board in module.params["boards"]}
    except LabError as error:
        module.fail_json(msg=str(error))
    first = not path.exists()
    if first and not module.check_mode:
        path.write_text(json.dumps(now))
    before = now if first else json.loads(path.read_text())
    found = {board: differences(told, now[board]) for board, told in before.items()}
    module.exit_json(changed=first, differences=found)


if __name__ == "__main__":
    main()
