"""begin_run: see plugins/modules/begin_run.py."""

from controller.plugins.begin_run import ActionModule as ActionModule
