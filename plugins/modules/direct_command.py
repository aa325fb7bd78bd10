"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: direct_command
short_description: Run a command on a board in one round trip
description:
  - Like C(ansible.builtin.command), but no module is sent to the board and no Python is started for it, so that it
    takes a tenth of the time, and the controller of many boards has little to do. Also C(ansible.builtin.raw) does
    that, but has no standard input and no environment.
options:
  argv: {type: list, elements: str, required: true, description: [The command, a word each.]}
  stdin: {type: str, default: "", description: [Its standard input.]}
  chdir: {type: path, default: "", description: [The folder it runs in.]}
  noted:
    type: bool
    default: false
    description:
      - For a program of the kit's that takes long on the controller. It is given one more word, C(--notes=FOLDER), and
        notes there what it is doing, for the callback C(elapsed) to print. No such word where nobody prints notes.
"""

EXAMPLES = """
- name: Ask the board what it is
  direct_command:
    argv: [python3, "-", "{{ request | to_json }}"]
    stdin: "{{ lookup('ansible.builtin.file', 'measure.py') }}"
"""

RETURN = """
rc: {type: int, returned: always, description: [Its exit code; the task fails unless that is 0.]}
stdout: {type: str, returned: always, description: [What it printed.]}
stderr: {type: str, returned: always, description: [Its errors.]}
sent_s: {type: float, returned: always, description: [The controller's time before, in seconds since 1970.]}
received_s: {type: float, returned: always, description: [The controller's time after, in seconds since 1970.]}
"""
