#!/usr/bin/python
"""Ansible module: records the state of emulated boards, or compares it with a record."""

from __future__ import annotations

import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_processes import LabError
from ansible.module_utils.lab_snapshot import differences, snapshot

DOCUMENTATION = r"""
module: lab_snapshot
short_description: Record the state of emulated boards, or compare it with the record
description:
  - The state is a board's files (mode, owner, checksum) and, from its programs and kernel, its power mode, clocks,
    rules, routes and services.
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
    description: File of the record. If it exists, the boards are compared with it, and it is not changed.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Compare the boards with their record
  lab_snapshot:
    lab_dir: /srv/kit/.lab
    boards: [board-1, board-2]
    path: /srv/kit/.lab/snapshot.json
  become: true
"""

RETURN = r"""
differences:
  description: Differences by board, as text; empty if the file did not exist.
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
