#!/usr/bin/python
"""Ansible module: one emulated board."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_board import Board, present
from ansible.module_utils.lab_processes import LabError

DOCUMENTATION = r"""
module: emulated_board
short_description: Run an emulated board on this machine
description:
  - A board is one process in network, UTS, mount, PID and IPC namespaces of its own. Everything a board has belongs to
    that process, so the kernel removes it all when the process ends.
  - Its root is an overlay over this machine's root file system. It has a link of a given rate to the lab's switch
    (M(emulated_lab)), one processor core, an ssh server, and an ordinary user C(board).
  - A board that has ended, or was made from other settings, is started again with the files it had. Another link rate
    is set without a restart. A missing ssh server is started.
  - Needs root on Linux; M(lab_plan) tells what else.
options:
  name:
    description: The board's host name.
    type: str
    required: true
  lab_dir:
    description: The lab's folder; the board's files are in C(boards/NAME) below it.
    type: path
    required: true
  address:
    description: The board's address, with the network's prefix length.
    type: str
    required: true
  link_rate:
    description: Rate of its link in either direction, in tc's syntax.
    type: str
    required: true
  core:
    description:
      - Which core it runs on, counted from 0 among those this machine lets us use. Counts on from
        the first after the last.
    type: int
    default: 0
  share:
    description: Its share of that core, 0 to 1; less than a whole one is a quota in a control group.
    type: float
    default: 1
  init:
    description: The script that is the board's first process.
    type: path
    required: true
  public_key_file:
    description: Public ssh key that may log in as C(board) and as C(root).
    type: path
    required: true
  python_env:
    description:
      - Python environment of this machine that the board has, read-only, as C(/opt/cluster-kit/venv); a dressed board
        has its interpreter only.
    type: path
    required: true
  more_envs:
    description: Path on the board of other Python environments of this machine, mounted read-only, and path here.
    type: dict
    default: {}
  hidden:
    description: Folders of this machine that are empty on the board, besides C(/home) and C(/root).
    type: list
    elements: path
    default: []
  dress:
    description:
      - What the board looks like when it is new; empty for a plain emulated board, C(orin) for an AGX Orin devkit with
        JetPack 5.1.1, others in C(lab_dresses.py). It then reboots and has services, too.
      - A board of another dress is replaced by a new one.
    type: str
    default: ""
  dress_files:
    description: Folder of this machine with the files of all dresses. Required if dressed.
    type: path
    default: ""
  password:
    description: Password of O(password_user), for logging in and for sudo. Empty for none.
    type: str
    default: ""
  password_user:
    description: A user that has no key but the password, if there is one.
    type: str
    default: nvidia
"""

EXAMPLES = r"""
- name: Run a board
  emulated_board:
    name: board-1
    lab_dir: /srv/kit/.lab
    address: 198.18.77.11/24
    link_rate: 120mbit
    core: 0
    init: /srv/kit/roles/lab/files/board_init.sh
    public_key_file: /srv/kit/.lab/ssh/id_ed25519.pub
    python_env: /srv/kit/.board-venv
    hidden: [/srv/kit]
  become: true
"""

RETURN = r"""
actions:
  description: What was done (in check mode, what would be).
  type: list
  returned: always
  sample: [started, set the link rate, started sshd]
core:
  description: Number of the core the board runs on.
  type: int
  returned: always
share:
  description: Its share of that core.
  type: float
  returned: always
host_key:
  description: Public half of the ssh server's key. Empty in check mode, if there is none yet.
  type: str
  returned: always
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "lab_dir": {"type": "path", "required": True},
            "address": {"type": "str", "required": True},
            "link_rate": {"type": "str", "required": True},
            "core": {"type": "int", "default": 0},
            "share": {"type": "float", "default": 1},
            "init": {"type": "path", "required": True},
            "public_key_file": {"type": "path", "required": True},
            "python_env": {"type": "path", "required": True},
            "hidden": {"type": "list", "elements": "path", "default": []},
            "more_envs": {"type": "dict", "default": {}},
            "dress": {"type": "str", "default": ""},
            "dress_files": {"type": "path", "default": ""},
            "password": {"type": "str", "default": "", "no_log": True},
            "password_user": {"type": "str", "default": "nvidia", "no_log": False},
        },
        supports_check_mode=True,
    )
    try:
        result = present(Board(**module.params), module.check_mode)
    except LabError as error:
        module.fail_json(msg=f"{module.params['name']}: {error}")
    module.exit_json(changed=bool(result["actions"]), **result)


if __name__ == "__main__":
    main()
