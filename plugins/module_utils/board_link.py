"""Facts of an interface from the kernel and the board's programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

NET = Path("/sys/class/net")


class LinkError(Exception):
    """An error of a link, with its remedy."""


def read(path: Path, default: str) -> str:
    """Returns the content of a kernel file."""
    try:
        return path.read_text().strip() or default
    except OSError:  # the driver does not know, or the interface is down
        return default


def mtu_of(name: str) -> int:
    """Returns the interface's current MTU in bytes; 0 if there is no such interface."""
    return int(read(NET / name / "mtu", "0"))


def must(module: AnsibleModule, *arguments: str, **options: Any) -> Any:
    """Returns a command's output.

    Raises:
        LinkError: it failed.
    """
    code, out, errors = module.run_command(list(arguments), **options)
    if code:
        raise LinkError(f"'{' '.join(arguments)}' failed: {(errors or out).strip()}; try it on the board")
    return out
