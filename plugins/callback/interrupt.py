"""Ctrl-C stops a run, not only the playbook."""

from controller.plugins.interrupt import CallbackModule as CallbackModule

DOCUMENTATION = """
name: interrupt
type: aggregate
short_description: Let Ctrl-C stop a run, not only the playbook
description:
  - Ansible's own Ctrl-C skips C(always). While the roles C(train) and C(study) run, this callback creates a file
    instead, for which C(follow_run) and C(run_study), in separate processes, look (controller/plugins/shared.py).
"""
