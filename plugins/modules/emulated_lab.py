#!/usr/bin/python
"""Ansible module: the switch that emulated boards are connected to, and the end of a whole lab."""

from __future__ import annotations

import os
import shutil
import time
from ipaddress import ip_interface
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.lab_link import is_wired, wait_until_gone, wire_switch
from ansible.module_utils.lab_processes import (
    PATH,
    LabError,
    Owner,
    end_owners,
    end_ssh_masters,
    inside,
    owners,
    run,
    start,
)
from ansible.module_utils.lab_settings import is_lab
from ansible.module_utils.lab_share import leave

DOCUMENTATION = r"""
module: emulated_lab
short_description: Make the switch of a lab, or end the whole lab
description:
  - A lab's switch is a process with a network namespace that holds a bridge. This machine is connected to it through
    one interface; there is no route to or from anywhere else.
  - To end a lab ends its switch, its boards and this machine's ssh connections to them, whatever state they are in, and
    deletes the lab's folder. Only processes whose environment names this lab are ended.
  - Needs root.
options:
  lab_dir:
    description: The lab's folder. It must exist for C(present).
    type: path
    required: true
  state:
    description: Whether the lab's switch is to run, or nothing of the lab is to be left.
    type: str
    choices: [present, absent]
    default: present
  interface:
    description: This machine's network interface to the boards.
    type: str
    required: true
  address:
    description: Its address, with the network's prefix length.
    type: str
    required: true
  in_memory:
    description:
      - Whether the boards keep their changes in memory, in a file system that is mounted on C(boards) in the lab's
        folder. It ends with the lab.
    type: bool
    default: false
  index:
    description:
      - Folder of files that boards can fetch over HTTP, from port 8000 of the network's second address, which is the
        switch's; empty for none. Nothing outside the lab's network reaches it. C(index/address) in the lab's folder has
        its address.
    type: path
    default: ""
"""

EXAMPLES = r"""
- name: Make the switch
  emulated_lab:
    lab_dir: /srv/kit/.lab
    interface: cklab0
    address: 198.18.77.1/24
  become: true
"""

RETURN = r"""
actions:
  description: What was done (in check mode, what would be).
  type: list
  returned: always
  sample: [ended 5 processes, deleted the folder]
"""


INDEX_PORT = 8000


def switches(lab_dir: str) -> list[Owner]:
    return [owner for owner in owners(lab_dir) if "interface" in owner.part]


def serve(lab_dir: str, address: str, index: str, check: bool) -> list[str]:
    """Makes the switch serve the folder, and returns what that took."""
    wanted = {"index": index}
    found = [owner for owner in owners(lab_dir) if "index" in owner.part]
    if [owner.part for owner in found] == ([wanted] if index else []):
        return []
    if not check:
        end_owners(found)
        if index:
            host = ip_interface(address).network[2]
            switch = switches(lab_dir)[0].pid
            own = f"{host}/{ip_interface(address).network.prefixlen}"
            run([*inside(switch, "net"), "ip", "address", "replace", own, "dev", "switch"])
            folder = Path(lab_dir, "index")
            folder.mkdir(exist_ok=True)
            (folder / "address").write_text(f"http://{host}:{INDEX_PORT}/simple/")
            server = ["python3", "-m", "http.server", "--bind", str(host), "--directory", index, str(INDEX_PORT)]
            start([*inside(switch, "net"), *server], lab_dir, wanted, folder)
    return ["served the packages" if index else "ended the server of packages"]


def present(lab_dir: str, interface: str, address: str, in_memory: bool, index: str, check: bool) -> list[str]:
    """Makes the switch run and the boards' files have a place, and returns what that took."""
    actions = []
    boards = Path(lab_dir, "boards")
    if in_memory and not os.path.ismount(boards):
        actions.append("keep the boards' changes in memory")
        if not check:
            boards.mkdir(exist_ok=True)
            run(["mount", "-t", "tmpfs", "-o", "mode=0755,nodev", "cluster-kit-lab", str(boards)])
    wanted = {"interface": interface, "address": address}
    found = switches(lab_dir)
    if [owner.part for owner in found] == [wanted] and is_wired(interface, address):
        return actions + serve(lab_dir, address, index, check)
    actions.append("started the switch")
    if check:
        return actions
    end_owners([owner for owner in owners(lab_dir) if "index" in owner.part])
    end_owners(found)
    for owner in found:
        wait_until_gone(owner.part["interface"])
    process = start(["unshare", "--net", "--", "sleep", "infinity"], lab_dir, wanted, Path(lab_dir))
    while not any(owner.pid == process.pid for owner in switches(lab_dir)):
        if process.poll() is not None:
            log = Path(lab_dir, "init.log").read_text().strip()
            raise LabError(f"the switch ended: {log or 'no reason given'}; run lab_down, then lab_up")
        time.sleep(0.005)
    wire_switch(process.pid, interface, address)
    return actions + serve(lab_dir, address, index, check)


def absent(lab_dir: str, interface: str, address: str, in_memory: bool, index: str, check: bool) -> list[str]:
    """Leaves nothing of the lab, and returns what that took."""
    actions = []
    found = owners(lab_dir)
    networks = {owner.part["address"] for owner in found if "interface" in owner.part} or {address}
    networks -= {owner.part.get("address") for owner in owners() if owner not in found}
    if shutil.which("ss", path=PATH):
        masters = sum(end_ssh_masters(str(ip_interface(net).network), check) for net in networks)
        if masters:
            actions.append(f"ended {masters} ssh connections")
    if found:
        actions.append(f"ended {len(found)} processes")
        if not check:
            while left := owners(lab_dir):  # again, for one that was just starting another
                end_owners(left)
            for owner in found:
                if "interface" in owner.part:
                    wait_until_gone(owner.part["interface"])
    if not check:
        leave(lab_dir)
    if Path(lab_dir).exists():
        if not is_lab(Path(lab_dir)):
            raise LabError(f"{lab_dir} is not a lab's folder: look what is in it and delete it")
        actions.append("deleted the folder")
        if not check:
            if os.path.ismount(boards := Path(lab_dir, "boards")):
                run(["umount", "--lazy", str(boards)])  # also while somebody looks at a board's files
            shutil.rmtree(lab_dir)
    return actions


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lab_dir": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "interface": {"type": "str", "required": True},
            "address": {"type": "str", "required": True},
            "in_memory": {"type": "bool", "default": False},
            "index": {"type": "path", "default": ""},
        },
        supports_check_mode=True,
    )
    act = present if module.params.pop("state") == "present" else absent
    try:
        actions = act(**module.params, check=module.check_mode)
    except LabError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
