"""Runs a playbook from a playbook, with the running command's options and secrets.

The child gets the secrets through its standard input, so that neither arguments, environment nor files contain them.
Ansible's own options for secrets do not work with a pipe, and cannot turn off a configured prompt.

Run as a program, this is ansible-playbook for such a child: the same options, the secrets on standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# ansible-playbook's options and their names in CLIARGS
HANDED_ON = {
    "--inventory": "inventory",
    "--limit": "subset",
    "--extra-vars": "extra_vars",
    "--user": "remote_user",
    "--private-key": "private_key_file",
    "--connection": "connection",
    "--timeout": "timeout",
    "--ssh-common-args": "ssh_common_args",
    "--sftp-extra-args": "sftp_extra_args",
    "--scp-extra-args": "scp_extra_args",
    "--ssh-extra-args": "ssh_extra_args",
    "--become": "become",
    "--become-method": "become_method",
    "--become-user": "become_user",
    "--forks": "forks",
    "--module-path": "module_path",
    "--diff": "diff",
    "--force-handlers": "force_handlers",
    "--flush-cache": "flush_cache",
    "--verbose": "verbosity",
}
REFUSED = {"--tags": "tags", "--skip-tags": "skip_tags", "--start-at-task": "start_at_task", "--step": "step"}


def problems(given: Mapping[str, Any]) -> list[str]:
    """A sentence for each option of ansible-playbook (its CLIARGS) that does not suit its children."""
    found = []
    for option, key in REFUSED.items():
        value = given[key]
        if value and list(value if isinstance(value, (list, tuple)) else [value]) != ["all"]:
            told = option if value is True else f"{option} {value if isinstance(value, str) else ','.join(value)}"
            found.append(f"{told} selects tasks of a single playbook, but this one starts others: leave it out")
    return found


def command(given: Mapping[str, Any], playbook: Path, variables: Mapping[str, Any]) -> list[str]:
    """The child's command, to be called in the same folder; `variables` come after the given ones."""
    from ansible import constants

    words = [sys.executable, "-P", __file__]  # -P: modules of this folder must not shadow the standard library
    for option, key in HANDED_ON.items():
        value = given[key]
        if key == "verbosity":
            words += [option] * (value - constants.DEFAULT_VERBOSITY)  # the child adds its own default
        elif key == "module_path":
            words += [f"{option}={':'.join(value)}"] if value else []
        elif isinstance(value, (list, tuple)):
            words += [f"{option}={one}" for one in value]
        elif value is True:
            words.append(option)
        elif value not in (None, False):
            words.append(f"{option}={value}")
    return [*words, f"--extra-vars={json.dumps(variables)}", str(playbook)]


def handed_over(play_context: Any) -> bytes:
    """The child's standard input: passwords, vault secrets, and whether output goes to a terminal."""
    from ansible.parsing.vault import VaultSecretsContext

    from controller.plugins import shared

    current = VaultSecretsContext.current(optional=True)
    vault = [(label, secret.bytes.decode("latin-1")) for label, secret in (current.secrets if current else ())]
    passwords = [None if value is None else str(value) for value in (play_context.password, play_context.become_pass)]
    handed = {"passwords": passwords, "vault": vault, "watched": shared.watched().exists()}
    return json.dumps(handed).encode()


def main(arguments: list[str]) -> None:
    """ansible-playbook with secrets from standard input; it never prompts."""
    handed = json.load(sys.stdin)

    from ansible.cli import CLI
    from ansible.cli.playbook import PlaybookCLI
    from ansible.parsing.vault import VaultSecret, VaultSecretsContext

    vault = [(label, VaultSecret(secret.encode("latin-1"))) for label, secret in handed["vault"]]

    def setup_vault_secrets(loader: Any, **_: Any) -> list[tuple[str, Any]]:
        loader.set_vault_secrets(vault)
        VaultSecretsContext.initialize(VaultSecretsContext(vault))
        return vault

    if handed["watched"]:
        from controller.plugins import shared

        shared.watched().touch()
    CLI.setup_vault_secrets = staticmethod(setup_vault_secrets)
    CLI.ask_passwords = staticmethod(lambda: tuple(handed["passwords"]))
    PlaybookCLI.cli_executor(["ansible-playbook", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
