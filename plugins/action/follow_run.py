"""follow_run: see plugins/modules/follow_run.py."""

from controller.plugins.follow_run import ActionModule as ActionModule
