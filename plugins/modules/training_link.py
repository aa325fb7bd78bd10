"""Finds the interface that carries the training address."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.board_link import NET, LinkError, must, read

DOCUMENTATION = """
module: training_link
short_description: Find the interface that carries the training address
description:
  - Fails if no interface has the address, or if that interface is wireless, down or too slow.
options:
  address: {type: str, required: true, description: [This board's address in the training network.]}
  speed_mbit: {type: int, description: [Mbit/s that the link must have at least, in full duplex.]}
"""

EXAMPLES = """
- name: Find the training interface
  training_link:
    address: 192.168.1.11
    speed_mbit: 1000
"""

RETURN = """
link:
  type: dict
  returned: success
  description:
    - The keys are interface, mac, mtu, wired, speed_mbit and duplex. The last two are null where the driver does not
      know, as for every virtual interface.
"""


def is_wireless(interface: Path) -> bool:
    """Tells it from what the kernel shows of an interface, or from the name that it gives to wireless ones."""
    return (
        any((interface / name).exists() for name in ("wireless", "phy80211"))
        or "DEVTYPE=wlan" in read(interface / "uevent", "")
        or interface.name.startswith("wl")
    )


def describe(interface: Path) -> dict[str, Any]:
    """Returns what the kernel says of an interface, which is a folder in /sys/class/net.

    A virtual one (of an emulated board, or a bridge) has no link of its own: what its driver says is made up.
    """
    physical = (interface / "device").exists()
    speed = int(read(interface / "speed", "-1")) if physical else -1
    duplex = read(interface / "duplex", "unknown") if physical else "unknown"
    return {
        "interface": interface.name,
        "mac": read(interface / "address", "") or None,
        "mtu": int(read(interface / "mtu", "0")),
        "wired": not is_wireless(interface),
        "speed_mbit": speed if speed > 0 else None,
        "duplex": duplex if duplex in ("full", "half") else None,
    }


def problem(link: dict[str, Any], address: str, state: str, speed_mbit: int | None) -> str | None:
    """Returns why this link cannot be used for training, with the remedy."""
    name = link["interface"]
    if not link["wired"]:
        return (
            f"the training address {address} is on {name}, which is wireless: connect the board to the switch, and "
            "give the wired interface's address as training_address in the inventory's hosts.yml"
        )
    if state not in ("up", "unknown"):
        return f"{name}, which carries the training address {address}, is {state}: check its cable and the switch"
    if speed_mbit and link["speed_mbit"] is not None and link["speed_mbit"] < speed_mbit:
        return (
            f"the link of {name} has {link['speed_mbit']} Mbit/s, but network_speed_mbit={speed_mbit} is "
            "required: try another cable and switch port (ethtool shows what both ends offer), or lower it"
        )
    if speed_mbit and link["duplex"] == "half":
        return f"the link of {name} is half duplex: let both ends negotiate it (ethtool -s {name} autoneg on)"
    return None


def find_interface(module: AnsibleModule, address: str) -> Path:
    """Returns the folder in /sys/class/net of the interface with the address.

    Raises:
        LinkError: there is none, or more than one.
    """
    meant = _resolved(address)
    out = must(module, "ip", "-json", "address", "show")
    addresses = {each["ifname"]: [info["local"] for info in each.get("addr_info", [])] for each in json.loads(out)}
    found = [name for name, local in addresses.items() if meant & set(local)]
    if len(found) == 1:
        return NET / found[0]
    has = "; ".join(f"{name} {', '.join(local)}" for name, local in addresses.items() if local and name != "lo")
    shown = address if address in meant else f"{address} ({', '.join(sorted(meant)) or 'unknown on the board'})"
    raise LinkError(
        f"the training address {shown} is on {' and '.join(found) or 'no interface'} of this board, which has "
        f"{has or 'no addresses'}: correct training_address in the inventory's hosts.yml"
    )


def _resolved(address: str) -> set[str]:
    """Returns the IPv4 addresses that a name has on the board, where it may have others than elsewhere."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(address, None, socket.AF_INET)}
    except (OSError, UnicodeError):
        return set()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "speed_mbit": {"type": "int"},
        },
        supports_check_mode=True,
    )
    try:
        interface = find_interface(module, module.params["address"])
        link = describe(interface)
        state = read(interface / "operstate", "unknown")
        wrong = problem(link, module.params["address"], state, module.params["speed_mbit"])
        if wrong:
            raise LinkError(wrong)
    except LinkError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, link=link)


if __name__ == "__main__":
    main()
