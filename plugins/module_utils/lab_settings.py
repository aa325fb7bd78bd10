"""Checks a lab's settings, and lists its boards."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

from .lab_dresses import DRESSES
from .lab_layer import USER, interpreter_folders
from .lab_link import bit_per_s
from .lab_processes import LabError

MARKER = ".cluster-kit-lab"  # a file that says that a folder is a lab's, and may be deleted
FIRST_HOST = 10  # an added board-3 gets the network's host number 13


@dataclass(frozen=True)
class Settings:
    """What the user sets."""

    listed: dict[str, str]  # the inventory's boards: name -> address
    boards: int  # how many to run
    lab_dir: str
    python_env: str
    link_rate: str
    interface: str  # this machine's interface to the boards
    address: str  # and its address, with the network's prefix length
    dresses: list[str] = field(default_factory=list)  # what boards look like, each once; '' for plain ones
    core_share: float = 0  # of a core, for each board; 0: equal ones
    password_users: list[str] = field(default_factory=list)  # of boards that have a password

    @property
    def host(self) -> ipaddress.IPv4Interface | None:
        """This machine in the boards' network, or None if the address is not valid."""
        try:
            host = ipaddress.IPv4Interface(self.address)
        except ValueError:
            return None
        return host if 16 <= host.network.prefixlen <= 28 else None


def added_boards(settings: Settings) -> dict[str, str]:
    """Returns name -> address of the boards to add to the inventory's, given valid settings."""
    network = ipaddress.IPv4Interface(settings.address).network
    boards = dict(settings.listed)
    number = 0
    while len(boards) < settings.boards:
        number += 1
        address = str(network[FIRST_HOST + number])
        if f"board-{number}" not in boards and address not in boards.values():
            boards[f"board-{number}"] = address
    return {name: boards[name] for name in boards if name not in settings.listed}


def setting_problems(settings: Settings) -> list[str]:
    """Returns what is wrong with the settings."""
    return [
        *_machine_problems(settings),
        *_count_problems(settings),
        *(problem for name, address in settings.listed.items() for problem in _board_problems(name, address, settings)),
        *_folder_problems(settings),
        *_look_problems(settings),
    ]


def is_lab(folder: Path) -> bool:
    """Tells whether an existing folder may be filled, and deleted, as a lab's."""
    return folder.is_dir() and ((folder / MARKER).exists() or not any(folder.iterdir()))


def _machine_problems(settings: Settings) -> list[str]:
    problems = []
    try:
        bit_per_s(settings.link_rate)
    except LabError as error:
        problems.append(f"lab_link_rate={error}")
    if not (settings.core_share == 0 or 0.01 <= settings.core_share <= 1):
        problems.append(
            f"lab_core_share={settings.core_share:g} is not a fraction of a core: give 0.01 to 1, or 0 for "
            "equal fractions"
        )
    if not re.fullmatch(r"[a-z][a-z0-9_-]{0,14}", settings.interface):
        problems.append(
            f"lab_interface='{settings.interface}' cannot be an interface's name: give a "
            "lower-case letter and up to 14 letters, digits, - or _, such as cklab0"
        )
    if settings.host is None:
        problems.append(
            f"lab_address='{settings.address}' is not an IPv4 address with a prefix length from 16 "
            "to 28: give one such as 198.18.77.1/24"
        )
    return problems


def _count_problems(settings: Settings) -> list[str]:
    count = len(settings.listed)
    if not count:
        return ["the inventory lists no emulated boards: run this with -i inventory/lab"]
    if settings.boards < count:
        return [
            f"lab_boards={settings.boards}, but the lab's inventory lists {count} "
            f"({', '.join(settings.listed)}): delete lines from its hosts.yml or raise lab_boards; "
            "lab_down removes boards that an earlier lab_boards added"
        ]
    if settings.host and settings.boards > count:
        most = settings.host.network.num_addresses - 2 - FIRST_HOST
        if settings.boards > most:
            return [
                f"lab_boards={settings.boards} is more than lab_address={settings.address} has addresses "
                f"for: give at most {most}"
            ]
    return []


def _board_problems(name: str, address: str, settings: Settings) -> list[str]:
    problems = []
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        problems.append(f"'{name}' cannot be a host's name: use lower-case letters, digits and -, such as board-1")
    first = next(other for other, same in settings.listed.items() if same == address)
    if first != name:
        problems.append(
            f"{first} and {name} have the same ansible_host '{address}': give each board an "
            "address of its own in the lab's hosts.yml"
        )
    elif settings.host and not _is_free(address, settings.host):
        problems.append(
            f"{name} has ansible_host='{address}', which is not a free address of the lab's "
            f"network {settings.host.network} ({settings.host.ip} is this machine): give it one "
            f"such as {settings.host.network[FIRST_HOST + 1]} in the lab's hosts.yml, or change "
            "lab_address"
        )
    return problems


def _is_free(address: str, host: ipaddress.IPv4Interface) -> bool:
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    taken = (host.ip, host.network.network_address, host.network.broadcast_address)
    return parsed in host.network and parsed not in taken


def _folder_problems(settings: Settings) -> list[str]:
    problems = []
    lab_dir = Path(settings.lab_dir)
    if not lab_dir.is_absolute():
        problems.append(f"lab_dir={lab_dir} is a relative path: give an absolute one")
    elif lab_dir.exists() and not is_lab(lab_dir):
        problems.append(
            f"lab_dir={lab_dir} is not a lab's folder, and lab_down would delete it: give a new or empty folder"
        )
    try:
        interpreter_folders(settings.python_env)
    except LabError as error:
        problems.append(str(error))
    return problems


def _look_problems(settings: Settings) -> list[str]:
    problems = [
        f"lab_dress='{dress}' is not a dress: give {', '.join(DRESSES)}, or '' for plain emulated boards"
        for dress in settings.dresses
        if dress not in ("", *DRESSES)
    ]
    for user in sorted(set(settings.password_users)):
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", user) or user in (USER, "root"):
            problems.append(
                f"lab_password_user='{user}' cannot have a password: give a lower-case name that is not {USER} "
                "or root, such as nvidia"
            )
    return problems
