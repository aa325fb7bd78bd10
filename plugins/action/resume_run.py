"""resume_run: see plugins/modules/resume_run.py."""

from controller.plugins.resume_run import ActionModule as ActionModule
