"""Sets an interface's MTU, now and at every boot, or restores it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.board_link import NET, LinkError, mtu_of, must, read

DOCUMENTATION = """
module: link_mtu
short_description: Set an interface's MTU, now and at every boot, or restore it
description:
  - Some drivers, such as that of an Orin's eth0, change an MTU only while the link is down, so it goes down for a
    moment. The change is reverted unless the controller reaches the board again and removes the file C(mtu-unconfirmed)
    in I(state_dir) in time. Run it with C(async), since the connection may use this link.
  - After that it is kept for later boots, by systemd's I(link_file) and in NetworkManager's profile. The earlier state
    is kept in I(state_dir), once, for I(state=restored).
options:
  state: {type: str, choices: [set, restored], default: set, description: [Restored gives back what was before.]}
  interface: {type: str, description: [Its name; for I(state=set).]}
  mtu: {type: int, description: [Bytes; for I(state=set).]}
  confirm_s: {type: float, default: 0, description: [Seconds for which to wait until the file is removed.]}
  state_dir: {type: path, required: true, description: [Where the earlier state is kept on the board.]}
  link_file: {type: path, required: true, description: [The file of systemd's that sets the MTU at every start.]}
"""

EXAMPLES = """
- name: Change the MTU
  link_mtu:
    interface: eth0
    mtu: 8966
    confirm_s: 60
    state_dir: /var/lib/cluster-kit
    link_file: /etc/systemd/network/10-cluster-kit.link
  async: 180
  poll: 0
"""

RETURN = """
mtu: {type: int, returned: success, description: [Bytes that the interface has now.]}
mtu_differs: {type: bool, returned: success, description: [Whether there was something to change.]}
"""

LEAST = 1280  # bytes; the check stage asks for as much


def permanent_mac(module: AnsibleModule, name: str) -> str | None:
    """Returns the address that the hardware has, None where there is none."""
    if read(NET / name / "addr_assign_type", "") == "0":  # the one that it has now is that
        return read(NET / name / "address", "") or None
    if not module.get_bin_path("ethtool"):
        return None
    shown = must(module, "ethtool", "-P", name).strip().split(" ")[-1]
    return shown if ":" in shown and shown.strip("0:") else None


def applied_link_file(module: AnsibleModule, name: str) -> Path | None:
    """Returns the .link file by which udev set the interface up: the first one that matches it."""
    if not module.get_bin_path("udevadm"):
        return None
    shown = must(module, "udevadm", "info", "--query=property", f"--path={NET / name}")
    found = [line.split("=", 1)[1] for line in shown.splitlines() if line.startswith("ID_NET_LINK_FILE=")]
    return Path(found[0]) if found else None


def link_section(text: str) -> list[str]:
    """Returns what the [Link] section of a .link file says besides the MTU, such as how the interface is named."""
    lines, inside = [], False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == "[Link]"
        elif inside and line and line[0] not in "#;" and not line.startswith("MTUBytes"):
            lines.append(line)
    return lines


def link_text(match: str, others: list[str], asked: int) -> str:
    """Returns our .link file. Only the first file that matches counts, so that it also says what that one said."""
    head = ["# Written by the role network of the cluster kit; playbooks/restore.yml removes it.", "[Match]", match]
    return "\n".join([*head, "", "[Link]", *others, f"MTUBytes={asked}", ""])


class Change:
    """What is to become of one interface, and what it was like."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module, options = module, module.params
        self.file = Path(options["link_file"])
        self.record = Path(options["state_dir"], "network.json")
        self.unconfirmed = Path(options["state_dir"], "mtu-unconfirmed")
        self.before: dict[str, Any] = json.loads(self.record.read_text()) if self.record.exists() else {}
        self.restoring = options["state"] == "restored"
        self.name = self.before.get("interface") if self.restoring else options["interface"]
        self.wanted = self.before.get("mtu") if self.restoring else options["mtu"]
        self.had = mtu_of(self.name) if self.name else 0
        if self.restoring:
            self.uuid = self.before.get("connection")
            return
        if self.wanted < LEAST:
            raise LinkError(f"network_mtu={self.wanted} is too small for training: give {LEAST} bytes or more")
        self.uuid = self._connection()
        self.later = self._profile()
        self.match, self.others = self._link_file()

    def _connection(self) -> str:
        """Returns the UUID of NetworkManager's connection that the interface uses."""
        if not self.module.get_bin_path("nmcli"):
            raise LinkError(
                "NetworkManager (nmcli), which JetPack has and which sets up the link again after a change of its MTU, "
                "is missing: install network-manager, or leave network_mtu empty and set the MTU where this board's "
                "network is set up"
            )
        uuid = must(self.module, "nmcli", "--get-values", "GENERAL.CON-UUID", "device", "show", self.name).strip()
        if not uuid or uuid == "--":
            remedy = "see 'nmcli device', or leave network_mtu empty"
            raise LinkError(f"NetworkManager has no connection for {self.name}: {remedy}")
        return str(uuid)

    def _profile(self) -> str:
        """Returns the MTU in NetworkManager's profile; "auto" is the driver's default."""
        show = ("nmcli", "--get-values", "802-3-ethernet.mtu", "connection", "show", "uuid", str(self.uuid))
        return str(must(self.module, *show)).strip()

    def _set_profile(self, later: str) -> None:
        change = ("nmcli", "connection", "modify", "uuid", str(self.uuid), "802-3-ethernet.mtu")
        must(self.module, *change, "0" if later == "auto" else later)

    def _link_file(self) -> tuple[str, list[str]]:
        """Returns the line that matches the interface, and the settings that it has from the file that counts now."""
        mac = permanent_mac(self.module, self.name)
        now = applied_link_file(self.module, self.name)
        if now and now.name < self.file.name:
            raise LinkError(
                f"{now} sets up {self.name} before {self.file} could, so that this would count for nothing: "
                f"write MTUBytes={self.wanted} there and leave network_mtu empty, or rename it"
            )
        return f"PermanentMACAddress={mac}" if mac else f"OriginalName={self.name}", link_section(
            read(now, "") if now else ""
        )

    @property
    def differs(self) -> bool:
        """Tells whether there is anything to do."""
        if self.restoring:
            return bool(self.before)
        kept = self.before.get("wanted") == self.wanted and self.later == str(self.wanted)
        ours = link_text(self.match, self.others, self.before.get("asked", 0))
        return not (kept and self.had == self.wanted and read(self.file, "") == ours.strip())

    def make(self, confirm_s: float) -> None:
        """Changes the MTU, waits until the controller has confirmed that, and only then keeps it for later starts.

        Raises:
            LinkError: that could not be, and everything is as it was.
        """
        file = self.file.read_text() if self.file.exists() else None
        self.unconfirmed.parent.mkdir(parents=True, exist_ok=True)
        try:
            same = self.restoring and self.had in (0, self.wanted)  # 0: there is no such interface any more
            asked = 0 if same else set_now(self.module, self.name, self.wanted)
            self.unconfirmed.touch()
            self._wait(confirm_s)
            if self.restoring:
                self._set_profile(self.before["later"])
                self.file.unlink(missing_ok=True)
                self.record.unlink()
            else:
                self._keep(asked)
        except (LinkError, OSError):
            self._undo(file)
            raise
        finally:
            self.unconfirmed.unlink(missing_ok=True)

    def _wait(self, confirm_s: float) -> None:
        deadline = time.monotonic() + confirm_s
        while self.unconfirmed.exists():
            if time.monotonic() > deadline:
                raise LinkError(
                    f"with an MTU of {self.wanted} bytes this board was not reached for {confirm_s:g} s, so that "
                    f"{self.name} has {self.had} again: give network_mtu a value that the switch takes too; if the "
                    "link only takes longer to come up, raise network_confirm_s"
                )
            time.sleep(0.1)

    def _keep(self, asked: int) -> None:
        first = {"interface": self.name, "connection": self.uuid, "later": self.later, "mtu": self.had}
        self.record.write_text(json.dumps({**first, **self.before, "wanted": self.wanted, "asked": asked}) + "\n")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(link_text(self.match, self.others, asked))
        self.file.chmod(0o644)
        self._set_profile(str(self.wanted))

    def _undo(self, file: str | None) -> None:
        if not self.restoring:
            if self.before:
                self.record.write_text(json.dumps(self.before) + "\n")
            else:
                self.record.unlink(missing_ok=True)
            if file is None:
                self.file.unlink(missing_ok=True)
            else:
                self.file.write_text(file)
            if self._profile() != self.later:
                self._set_profile(self.later)
        if self.had and mtu_of(self.name) != self.had:
            set_now(self.module, self.name, self.had)


def set_now(module: AnsibleModule, name: str, mtu: int) -> int:
    """Takes the link down, sets its MTU and takes it up again; returns which MTU the driver had to be asked for.

    Raises:
        LinkError: the driver does not make it that.
    """
    routes = must(module, "ip", "-4", "route", "show", "dev", name).splitlines()
    must(module, "ip", "link", "set", "dev", name, "down")
    try:
        asked = mtu
        must(module, "ip", "link", "set", "dev", name, "mtu", str(asked))
        if mtu_of(name) < mtu:  # an Orin's keeps 34 bytes for MACsec
            asked += mtu - mtu_of(name)
            must(module, "ip", "link", "set", "dev", name, "mtu", str(asked))
        if mtu_of(name) != mtu:
            raise LinkError(
                f"asked for an MTU of {asked} bytes, the driver of {name} makes it {mtu_of(name)}, and not "
                f"network_mtu={mtu}: give another value"
            )
    finally:
        must(module, "ip", "link", "set", "dev", name, "up")
        # The kernel does not bring all of them back. What NetworkManager has set up meanwhile is an error that counts
        # for nothing. Gateways come last, since they are reached over the others.
        lost = sorted(routes, key=lambda route: " via " in route)
        again = "".join(f"route add {route.replace(' linkdown', '')} dev {name}\n" for route in lost)
        module.run_command(["ip", "-4", "-force", "-batch", "-"], data=again, binary_data=True)
    return asked


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["set", "restored"], "default": "set"},
            "interface": {"type": "str"},
            "mtu": {"type": "int"},
            "confirm_s": {"type": "float", "default": 0},
            "state_dir": {"type": "path", "required": True},
            "link_file": {"type": "path", "required": True},
        },
        required_if=[("state", "set", ("interface", "mtu"))],
        supports_check_mode=True,
    )
    try:
        change = Change(module)
        differs = change.differs
        if differs and not module.check_mode:
            change.make(module.params["confirm_s"])
    except (LinkError, OSError) as error:
        module.fail_json(msg=str(error))
    diff = {"before": f"mtu {change.had}\n", "after": f"mtu {change.wanted or change.had}\n"}
    mtu = mtu_of(change.name) if change.name else None
    module.exit_json(changed=differs, mtu_differs=differs, mtu=mtu, diff=diff)


if __name__ == "__main__":
    main()
