"""run_study: see plugins/modules/run_study.py."""

from controller.plugins.run_study import ActionModule as ActionModule
