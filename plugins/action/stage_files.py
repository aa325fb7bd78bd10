"""stage_files: see plugins/modules/stage_files.py."""

from controller.plugins.stage_files import ActionModule as ActionModule
