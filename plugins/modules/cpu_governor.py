"""Lets a board's CPUs run at their highest clock, by cpufreq's governor, or restores the earlier governors."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: cpu_governor
short_description: Set cpufreq's governor to performance, or restore the earlier ones
description:
  - For boards that are not Jetsons. The earlier governors are kept in I(state_dir), once, for I(state=restored).
  - Policies without the governor performance, or that cannot be written, as on an emulated board that is not dressed,
    and kernels without cpufreq are left as they are.
options:
  state: {type: str, choices: [set, restored], default: set, description: [C(restored) restores the earlier ones.]}
  state_dir: {type: path, required: true, description: [Where the earlier governors are kept on the board.]}
"""

EXAMPLES = """
- name: Set the governor
  cpu_governor:
    state_dir: /var/lib/cluster-kit
"""

RETURN = """
policies: {type: dict, returned: always, description: [The governor of each policy at the end.]}
"""

CPUFREQ = Path("/sys/devices/system/cpu/cpufreq")
WANTED = "performance"


def governors(folder: Path = CPUFREQ) -> dict[str, str]:
    """Returns the governor by policy, of those that have the wanted one and can be written."""
    return {
        policy.name: (policy / "scaling_governor").read_text().strip()
        for policy in sorted(folder.glob("policy*"))
        if (policy / "scaling_available_governors").exists()  # a driver may know none
        and WANTED in (policy / "scaling_available_governors").read_text().split()
        and os.access(policy / "scaling_governor", os.W_OK)  # an emulated board may see its machine's, read-only
    }


def change(state: str, record: Path, check: bool, folder: Path = CPUFREQ) -> tuple[list[str], dict[str, str]]:
    """Sets or restores the governors; returns what that took, and the governors at the end."""
    now, actions = governors(folder), []
    if state == "set":
        wanted = dict.fromkeys(now, WANTED)
        if now != wanted and not record.exists():
            actions.append("kept the earlier governors")
            if not check:
                record.parent.mkdir(parents=True, exist_ok=True)
                record.write_text(json.dumps(now) + "\n")
    else:
        wanted = json.loads(record.read_text()) if record.exists() else now
    for policy, governor in now.items():
        if wanted.get(policy, governor) != governor:
            actions.append(f"set {policy} from {governor} to {wanted[policy]}")
            if not check:
                (folder / policy / "scaling_governor").write_text(wanted[policy])
    if state == "restored" and record.exists():
        actions.append("forgot the earlier governors")
        if not check:
            record.unlink()
    return actions, governors(folder)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["set", "restored"], "default": "set"},
            "state_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        actions, policies = change(
            module.params["state"], Path(module.params["state_dir"], "governor.json"), module.check_mode
        )
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"the CPUs' governor cannot be changed: {error}")
    diff = {"before": "", "after": "".join(f"{action}\n" for action in actions)}
    module.exit_json(changed=bool(actions), diff=diff, policies=policies)


if __name__ == "__main__":
    main()
