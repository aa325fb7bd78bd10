"""noted_pip: see plugins/modules/noted_pip.py."""

from controller.plugins.noted_pip import ActionModule as ActionModule
