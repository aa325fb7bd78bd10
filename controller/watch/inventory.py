# mypy: disable-error-code="import-untyped"
"""Finds the ssh command for each board in Ansible's inventory, as Ansible's connection plugin would call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.runs.errors import AnalysisError
from controller import ssh

_PROJECT = Path(__file__).resolve().parents[2]
_DEFAULTS = _PROJECT / "roles/kit/defaults/main.yml"
_HOME = "kit_home"  # the kit's folder on a board


@dataclass(frozen=True)
class Access:
    """How to reach a board, and the kit's folder on it."""

    ssh: tuple[str, ...]  # Ansible's ssh command without the remote command
    home: str  # the kit's folder on the board


def find(boards: Iterable[str], inventory: str | None) -> dict[str, Access]:
    """Access by board, from an inventory (a path or a list, as for ansible -i) or, without one, ansible.cfg's.

    Raises AnalysisError if the inventory cannot be read or lacks a board.
    """
    # imported late: Ansible takes a second
    from ansible import constants
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import Templar
    from ansible.vars.hostvars import HostVars
    from ansible.vars.manager import VariableManager

    source = inventory or ",".join(constants.DEFAULT_HOST_LIST)
    if "," not in source and not Path(source).exists():
        raise AnalysisError(f"the inventory {source} does not exist: give -i inventory/boards or -i inventory/lab")
    _load_plugins()
    loader = DataLoader()
    try:
        _open_vault(loader)
        manager = InventoryManager(loader=loader, sources=[source] if inventory else constants.DEFAULT_HOST_LIST)
    except AnsibleError as error:
        raise AnalysisError(f"the inventory {source} cannot be read: {_told(error)}") from error
    variables = VariableManager(loader=loader, inventory=manager)
    HostVars(manager, variables, loader)  # lets variables use hostvars[...]
    missing = [board for board in boards if board not in manager.hosts]
    if missing:
        raise AnalysisError(
            f"{', '.join(missing)} of this run is not in the inventory {source}: "
            "give the one that the run was started with, such as -i inventory/lab for emulated boards"
        )
    defaults = loader.load_from_file(str(_DEFAULTS), trusted_as_template=True)
    found, problems = {}, []
    for board in boards:
        try:
            of_board = variables.get_vars(host=manager.get_host(board))
            templar = Templar(loader=loader, variables=of_board)
            command = _command(board, of_board, templar)
            home = str(templar.template({**defaults, **of_board}[_HOME]))
        except AnsibleError as error:
            problems.append(f"the variables of {board} in {source} cannot be resolved: {_told(error)}")
        else:
            found[board] = Access(command, home)
    if problems:
        raise AnalysisError("; ".join(problems))
    return found


@cache
def _load_plugins() -> None:
    from ansible.plugins.loader import init_plugin_loader

    init_plugin_loader()  # allowed only once


def _open_vault(loader: Any) -> None:
    """Give the loader the vault secrets of Ansible's configuration, with its prompts."""
    from ansible import constants
    from ansible.parsing.vault import VaultSecretsContext

    ask, labelled = constants.DEFAULT_ASK_VAULT_PASS, list(constants.DEFAULT_VAULT_IDENTITY_LIST)
    if ask or labelled or constants.DEFAULT_VAULT_PASSWORD_FILE:
        from ansible.cli import CLI

        first = VaultSecretsContext.current(optional=True) is None  # allowed only once
        secrets = CLI.setup_vault_secrets(
            loader, labelled, ask_vault_pass=ask, auto_prompt=False, initialize_context=first
        )
        loader.set_vault_secrets(secrets)


def _told(error: Exception) -> str:
    told = str(error).rstrip(".")
    if "vault" in told.lower():
        told += "; give the vault's password with ANSIBLE_ASK_VAULT_PASS=true or ANSIBLE_VAULT_PASSWORD_FILE=FILE"
    return told


def _command(board: str, variables: Mapping[str, Any], templar: Any) -> tuple[str, ...]:
    from ansible import constants
    from ansible.playbook.play_context import PlayContext
    from ansible.plugins.loader import connection_loader

    plugin = connection_loader.get("ssh", PlayContext())  # first: loading it registers its variables
    names = constants.config.get_plugin_vars("connection", "ssh")
    plugin.set_options(var_options={name: templar.template(variables[name]) for name in names if name in variables})
    return ssh.command(plugin, str(plugin.get_option("host") or board))
