"""A line for each task, and failures in full."""

from controller.plugins.brief import CallbackModule as CallbackModule

DOCUMENTATION = """
name: brief
type: stdout
short_description: A line per task, and failures in full
description:
  - Like C(default), but a task that went well is one line, however many hosts and items it had, and a message of
    C(debug) is printed as it is. With C(-v) everything is printed as by C(default).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""
