"""Finds the interface that carries the training address, and sets its MTU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: training_link
short_description: Find the interface that carries the training address, and set its MTU
description:
  - Fails where no interface has the address, or the one that has it is wireless, down, or slower than wanted.
  - The MTU is set now with C(ip), and for every later start with NetworkManager, which JetPack has. What the
    interface had before is kept in I(state_dir), once, for I(state=restored).
options:
  address: {type: str, required: true, description: [This board's address in the training network.]}
  state: {type: str, choices: [set, restored], default: set, description: [Restored gives back the earlier MTU.]}
  mtu: {type: int, description: [Bytes; without it the MTU is left.]}
  speed_mbit: {type: int, description: [Mbit/s that the link must have at least, in full duplex.]}
  state_dir: {type: path, required: true, description: [Where the earlier state is kept on the board.]}
"""

EXAMPLES = """
- name: Find the training interface
  training_link:
    address: 192.168.1.11
    speed_mbit: 1000
    state_dir: /var/lib/cluster-kit
"""

RETURN = """
link:
  type: dict
  returned: success
  description:
    - The keys are interface, mac, mtu, wired, speed_mbit and duplex. The last two are null where the driver does not
      know, as for every virtual interface.
"""


class LinkError(Exception):
    """What is wrong, and the remedy."""


def is_wireless(interface: Path) -> bool:
    """Tells it from what the kernel shows of an interface, or from the name that it gives to wireless ones."""
    return (
        any((interface / name).exists() for name in ("wireless", "phy80211"))
        or "DEVTYPE=wlan" in _read(interface / "uevent", "")
        or interface.name.startswith("wl")
    )


def describe(interface: Path) -> dict[str, Any]:
    """Returns what the kernel says of an interface, which is a folder in /sys/class/net.

    A virtual one (of an emulated board, or a bridge) has no link of its own: what its driver says is made up.
    """
    physical = (interface / "device").exists()
    speed = int(_read(interface / "speed", "-1")) if physical else -1
    duplex = _read(interface / "duplex", "unknown") if physical else "unknown"
    return {
        "interface": interface.name,
        "mac": _read(interface / "address", "") or None,
        "mtu": int(_read(interface / "mtu", "0")),
        "wired": not is_wireless(interface),
        "speed_mbit": speed if speed > 0 else None,
        "duplex": duplex if duplex in ("full", "half") else None,
    }


def problem(link: dict[str, Any], address: str, state: str, speed_mbit: int | None) -> str | None:
    """Returns what speaks against training over this link, and the remedy."""
    name = link["interface"]
    if not link["wired"]:
        return (
            f"the training address {address} is on {name}, which is wireless: connect the board to the switch, and "
            "give the wired interface's address as training_address in the inventory's hosts.yml"
        )
    if state not in ("up", "unknown"):
        return f"{name}, which carries the training address {address}, is {state}: look at its cable and the switch"
    if speed_mbit and link["speed_mbit"] is not None and link["speed_mbit"] < speed_mbit:
        return (
            f"the link of {name} has {link['speed_mbit']} Mbit/s, and network_speed_mbit={speed_mbit} is wanted: try "
            "another cable and port of the switch (ethtool shows what both ends offer), or ask for less"
        )
    if speed_mbit and link["duplex"] == "half":
        return f"the link of {name} is half duplex: let both ends negotiate it (ethtool -s {name} autoneg on)"
    return None


def _read(path: Path, default: str) -> str:
    try:
        return path.read_text().strip() or default
    except OSError:  # the driver does not know, or the interface is down
        return default


def find_interface(module: AnsibleModule, address: str) -> Path:
    """Returns the folder in /sys/class/net of the interface with the address.

    Raises:
        LinkError: there is none, or more than one.
    """
    code, out, errors = module.run_command(["ip", "-json", "address", "show"])
    if code:
        raise LinkError(f"'ip -json address show' failed: {errors.strip()}; reinstall iproute2 on the board")
    addresses = {each["ifname"]: [info["local"] for info in each.get("addr_info", [])] for each in json.loads(out)}
    found = [name for name, local in addresses.items() if address in local]
    if len(found) == 1:
        return Path("/sys/class/net", found[0])
    has = "; ".join(f"{name} {', '.join(local)}" for name, local in addresses.items() if local and name != "lo")
    raise LinkError(
        f"the training address {address} is on {' and '.join(found) or 'no interface'} of this board, which has "
        f"{has or 'no addresses'}: correct training_address in the inventory's hosts.yml"
    )


def must(module: AnsibleModule, *arguments: str) -> str:
    code, out, errors = module.run_command(list(arguments))
    if code:
        raise LinkError(f"'{' '.join(arguments)}' failed: {(errors or out).strip()}; try it on the board")
    return str(out).strip()


def connection(module: AnsibleModule, name: str) -> str:
    """Returns the UUID of NetworkManager's connection that the interface uses.

    Raises:
        LinkError: NetworkManager is not there, or leaves the interface to others.
    """
    if not module.get_bin_path("nmcli"):
        raise LinkError(
            "NetworkManager (nmcli), which JetPack has and which keeps an MTU when the board starts again, is missing: "
            "install network-manager, or leave network_mtu empty and set the MTU where this board's network is set up"
        )
    uuid = must(module, "nmcli", "--get-values", "GENERAL.CON-UUID", "device", "show", name)
    if not uuid or uuid == "--":
        raise LinkError(f"NetworkManager has no connection for {name}: see 'nmcli device', or leave network_mtu empty")
    return uuid


def set_mtu(module: AnsibleModule, name: str, uuid: str, later: str, now: int) -> None:
    """Sets the MTU for every later start ("auto" is the driver's default) and now, without taking the link down."""
    must(module, "nmcli", "connection", "modify", "uuid", uuid, "802-3-ethernet.mtu", "0" if later == "auto" else later)
    must(module, "ip", "link", "set", "dev", name, "mtu", str(now))


def apply(module: AnsibleModule) -> dict[str, Any]:
    """Checks the link and makes its MTU as wanted, or as it was; returns the module's result."""
    options = module.params
    record = Path(options["state_dir"], "network.json")
    if options["state"] == "restored":
        if not record.exists():
            return {"changed": False}
        if not module.check_mode:
            before = json.loads(record.read_text())
            set_mtu(module, before["interface"], before["connection"], before["later"], before["mtu"])
            record.unlink()
        return {"changed": True}
    interface = find_interface(module, options["address"])
    link = describe(interface)
    wrong = problem(link, options["address"], _read(interface / "operstate", "unknown"), options["speed_mbit"])
    if wrong:
        raise LinkError(wrong)
    changed, mtu = False, options["mtu"]
    diff = {"before": f"mtu {link['mtu']}\n", "after": f"mtu {mtu or link['mtu']}\n"}
    if mtu:
        name = link["interface"]
        uuid = connection(module, name)
        later = must(module, "nmcli", "--get-values", "802-3-ethernet.mtu", "connection", "show", "uuid", uuid)
        changed = (link["mtu"], later) != (mtu, str(mtu))
        if changed and not module.check_mode:
            if not record.exists():
                record.parent.mkdir(parents=True, exist_ok=True)
                before = {"interface": name, "connection": uuid, "later": later, "mtu": link["mtu"]}
                record.write_text(json.dumps(before) + "\n")
            set_mtu(module, name, uuid, str(mtu), mtu)
            link["mtu"] = mtu
    return {"changed": changed, "link": link, "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["set", "restored"], "default": "set"},
            "mtu": {"type": "int"},
            "speed_mbit": {"type": "int"},
            "state_dir": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**apply(module))
    except LinkError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
