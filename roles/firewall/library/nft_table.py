"""Keeps one nftables table of the running kernel as a file has it."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: nft_table
short_description: Keep one nftables table of the running kernel as a file has it
description:
  - Loads the file where the kernel's table differs, in one transaction, and touches no other table.
  - What the kernel makes of the file is found out in an empty network namespace, so that both are compared in the
    kernel's own words, and a file that it refuses changes nothing.
options:
  table: {type: str, required: true, description: [Family and name, such as C(inet cluster_kit).]}
  path: {type: path, description: [The file; it declares, deletes and then defines the table.]}
  state: {type: str, choices: [present, absent], default: present, description: [Whether the table is to be there.]}
"""

EXAMPLES = """
- name: Load the rules
  nft_table:
    table: inet cluster_kit
    path: /etc/nftables.d/cluster-kit.nft
"""

RETURN = """
rules: {type: str, returned: always, description: [The table in the kernel's words; empty without one.]}
"""

REMEDY = (
    "this board's kernel has no nftables for us (zgrep NF_TABLES /proc/config.gz; NVIDIA's may be built without): boot "
    "one that has it, or keep the boards' network to themselves and leave the role out (--skip-tags firewall)"
)


class NftError(Exception):
    """What went wrong, and the remedy."""


def live(module: AnsibleModule, table: str, prefix: tuple[str, ...] = ()) -> str:
    """Returns the table as the kernel lists it, or an empty text without one."""
    _, out, _ = module.run_command([*prefix, "nft", "list", "table", *table.split()])
    return str(out)


def wanted(module: AnsibleModule, table: str, path: str) -> str:
    """Returns what the kernel makes of the file.

    Raises:
        NftError: it refuses it, or knows no nftables.
    """
    script = f'nft -f "$1" && nft list table {table}'
    code, out, errors = module.run_command(["unshare", "--net", "sh", "-c", script, "sh", path])
    if code:
        supported = module.run_command(["nft", "list", "tables"])[0] == 0
        raise NftError(f"nft refuses {path}: {errors.strip()}" if supported else f"{errors.strip()}: {REMEDY}")
    return str(out)


def apply(module: AnsibleModule) -> dict[str, Any]:
    """Makes the table as wanted; returns the module's result."""
    table, path, state = (module.params[name] for name in ("table", "path", "state"))
    if not module.get_bin_path("nft"):
        if state == "present" and not module.check_mode:
            raise NftError("nft is missing: install nftables")
        return {"changed": state == "present", "rules": ""}
    before = live(module, table)
    if state == "absent":
        after, script = "", f"delete table {table}"
    elif module.check_mode and not Path(path).exists():
        return {"changed": True, "rules": before}  # a fresh board: the file would have been written by now
    else:
        after, script = wanted(module, table, path), None
    if before != after and not module.check_mode:
        code, _, errors = module.run_command(["nft", script] if script else ["nft", "-f", path])
        if code or live(module, table) != after:
            raise NftError(f"the rules of {table} could not be changed: {errors.strip() or 'they differ afterwards'}")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "kernel", path or "nothing", lineterm="")
    return {"changed": before != after, "rules": after, "diff": {"prepared": "\n".join(lines)}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "table": {"type": "str", "required": True},
            "path": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        required_if=[("state", "present", ["path"])],
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply(module))
    except NftError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
