"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: noted_pip
short_description: Install with pip, and note pip's progress
description:
  - Runs C(ansible.builtin.pip) with the same options. Meanwhile it reads pip's log on the board every few seconds, and
    notes pip's stage or downloads for the callback C(elapsed).
options:
  name: {type: list, elements: str, description: [As of C(ansible.builtin.pip).]}
  requirements: {type: str, description: [As of C(ansible.builtin.pip).]}
  virtualenv: {type: path, description: [As of C(ansible.builtin.pip).]}
  virtualenv_command: {type: path, description: [As of C(ansible.builtin.pip).]}
  extra_args: {type: str, description: [As of C(ansible.builtin.pip).]}
"""

EXAMPLES = """
- name: Install NumPy
  noted_pip:
    name: numpy==1.23.5
    virtualenv: /opt/cluster-kit/venv
"""

RETURN = """ # """
