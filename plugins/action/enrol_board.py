"""enrol_board: see plugins/modules/enrol_board.py."""

from controller.plugins.enrol_board import ActionModule as ActionModule
