"""The shell of boards whose login scripts print without the end of a line, such as the title of a window."""

from __future__ import annotations

from typing import Any

from ansible.plugins.shell.sh import ShellModule as Sh

DOCUMENTATION = """
name: own_line
short_description: POSIX shell that answers Ansible on lines of its own
description:
  - Ansible passes over lines that a login script prints before the answer of a module or the name of a folder, but not
    over what is on the same line. So the commands whose answer it reads first end that line.
extends_documentation_fragment: [shell_common]
"""


class ShellModule(Sh):
    def build_module_command(self, *arguments: Any, **options: Any) -> str:
        return f"echo; {super().build_module_command(*arguments, **options)}"

    def expand_user(self, *arguments: Any, **options: Any) -> str:
        return f"echo; {super().expand_user(*arguments, **options)}"

    def mkdtemp(self, *arguments: Any, **options: Any) -> str:
        return f"echo; {super().mkdtemp(*arguments, **options)}"
