"""Prints a line per task, and failures in full."""

from controller.plugins.brief import CallbackModule as CallbackModule

DOCUMENTATION = """
name: brief
type: stdout
short_description: A line per task, and failures in full
description:
  - Like C(default), but a successful task is one line for all hosts and items, and a message of C(debug) is printed as
    it is. With C(-v) everything is printed as by C(default).
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""
