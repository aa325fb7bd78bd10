"""direct_command: see plugins/modules/direct_command.py."""

from controller.plugins.direct_command import ActionModule as ActionModule
