"""Keeps the kernel's packet filter rules as a script defines them."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: loaded_rules
short_description: Keep the kernel's packet filter rules as a script defines them
description:
  - Lets the script load its rules if the kernel has others.
  - The script is first run in an empty network namespace, so that both rule sets are compared in the kernel's own
    format, and refused rules change nothing.
options:
  script: {type: path, required: true, description: [Takes one word, C(load), C(show) or C(clear).]}
  state: {type: str, choices: [present, absent], default: present, description: [Whether the rules are to be there.]}
"""

EXAMPLES = """
- name: Load the rules
  loaded_rules:
    script: /usr/local/sbin/cluster-kit-firewall
"""

RETURN = """
rules: {type: str, returned: always, description: [The rules in the kernel's words; empty without any.]}
"""

_REMEDY = "run the script on the board to see more, or keep the boards' network to themselves and leave the rules out"


class RulesError(Exception):
    """The rules could not be changed."""


def live(module: AnsibleModule, script: str) -> str:
    """Returns the rules as the kernel shows them, or an empty text without any."""
    code, out, _ = module.run_command([script, "show"])
    return "" if code else str(out)


def wanted(module: AnsibleModule, script: str) -> str:
    """Returns what the kernel makes of the script.

    Raises:
        RulesError: it refuses the rules.
    """
    code, out, errors = module.run_command(["unshare", "--net", "sh", "-c", '"$1" load && "$1" show', "sh", script])
    if code:
        raise RulesError(f"the kernel refuses the rules of {script}: {errors.strip()}; {_REMEDY}")
    return str(out)


def apply(module: AnsibleModule) -> dict[str, Any]:
    """Makes the rules as wanted; returns the module's result."""
    script, present = module.params["script"], module.params["state"] == "present"
    if not Path(script).exists():  # a fresh board in check mode, or one that was restored
        return {"changed": present, "rules": ""}
    before = live(module, script)
    after = wanted(module, script) if present else ""
    if before != after and not module.check_mode:
        code, _, errors = module.run_command([script, "load" if present else "clear"])
        if code or live(module, script) != after:
            wrong = errors.strip() or "they differ afterwards"
            raise RulesError(f"{script} could not change the rules: {wrong}; {_REMEDY}")
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "kernel", script, lineterm="")
    return {"changed": before != after, "rules": after, "diff": {"prepared": "\n".join(lines)}}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "script": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply(module))
    except RulesError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
