"""witness_host: see plugins/modules/witness_host.py."""

from controller.plugins.witness_host import ActionModule as ActionModule
