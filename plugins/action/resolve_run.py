"""resolve_run: see plugins/modules/resolve_run.py."""

from controller.plugins.resolve_run import ActionModule as ActionModule
