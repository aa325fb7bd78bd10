#!/usr/bin/python
"""Ansible module: builds the folder of packages for dressed boards."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_wheels import make_wheels

DOCUMENTATION = r"""
module: lab_wheels
short_description: Pack the boards' environment of this machine into wheels
description:
  - Makes a folder that the role python_env can install from without an index, C(settings.json) in it says with which
    settings. TensorFlow's wheel is named, and gives its version, as NVIDIA's for JetPack does.
  - Does nothing where the folder was made from the same, or where the environment has no TensorFlow.
options:
  python_env:
    description: The environment to pack.
    type: path
    required: true
  sources:
    description: Folder with a folder per package of source.
    type: path
    required: true
  folder:
    description: The folder to make.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Make wheels for dressed boards
  lab_wheels:
    python_env: /srv/kit/.board-venv
    sources: /srv/kit/roles/lab/files/orin/source
    folder: /srv/kit/.cache/board-wheels
"""

RETURN = r""" # """


def main() -> None:
    spec = {name: {"type": "path", "required": True} for name in ("python_env", "sources", "folder")}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    changed = not module.check_mode and make_wheels(*(Path(module.params[name]) for name in spec))
    module.exit_json(changed=changed)


if __name__ == "__main__":
    main()
