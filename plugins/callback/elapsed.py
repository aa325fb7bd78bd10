"""How long a task has been at work."""

from controller.plugins.elapsed import CallbackModule as CallbackModule

DOCUMENTATION = """
name: elapsed
type: aggregate
short_description: Tell how long a task has been at work
description:
  - Every ten seconds of a task it prints how long that has been at work, and on which hosts. Who knows more of it, such
    as how much of a file is there, leaves a note (controller/notes.py).
  - It is apart from C(brief), so that it is there with every other output of Ansible's as well.
"""
