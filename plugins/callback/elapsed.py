"""Prints how long a task has been running."""

from controller.plugins.elapsed import CallbackModule as CallbackModule

DOCUMENTATION = """
name: elapsed
type: aggregate
short_description: Print how long a task has been running
description:
  - Every ten seconds of a task it prints the elapsed time and the busy hosts, with notes on the progress
    (controller/notes.py), such as how much of a file has arrived.
  - It is separate from C(brief), so that it works with all of Ansible's outputs.
"""
