"""clock_offset: see plugins/modules/clock_offset.py."""

from controller.plugins.clock_offset import ActionModule as ActionModule
