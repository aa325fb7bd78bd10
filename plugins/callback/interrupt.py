"""Ctrl-C ends a run, not only the playbook."""

from controller.plugins.interrupt import CallbackModule as CallbackModule

DOCUMENTATION = """
name: interrupt
type: aggregate
short_description: Let Ctrl-C end a run, not only the playbook
description:
  - Ansible's own Ctrl-C skips C(always). While the roles C(train) and C(study) are at work, this one leaves a file
    instead, which C(follow_run) and C(run_study), in processes of their own, look for (controller/plugins/shared.py).
"""
