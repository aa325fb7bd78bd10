"""collect_run: see plugins/modules/collect_run.py."""

from controller.plugins.collect_run import ActionModule as ActionModule
