"""place_run: see plugins/modules/place_run.py."""

from controller.plugins.place_run import ActionModule as ActionModule
