"""Sets a Jetson's power mode and pins its clocks, or restores the earlier ones."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any, Callable, NoReturn

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: jetson_power
short_description: Set a Jetson's power mode and pin its clocks, or restore the earlier ones
description:
  - Asks C(nvpmodel) and C(jetson_clocks) first, and changes only what differs. The state before the first change is
    kept in I(state_dir), once, for I(state=restored).
  - If C(nvpmodel) requires a reboot for a mode, the module returns C(reboot_command), which confirms it and reboots;
    run the module again after that, with I(rebooted).
options:
  state: {type: str, choices: [set, restored], default: set, description: [C(restored) restores the earlier state.]}
  mode: {type: str, default: "", description: [Name or ID of a power mode of this board; empty keeps it.]}
  clocks_pinned: {type: bool, default: false, description: [Pin the clocks; false leaves them.]}
  state_dir: {type: path, required: true, description: [Where the earlier state is kept on the board.]}
  rebooted: {type: bool, default: false, description: [Whether it was rebooted; fail without the mode.]}
"""

EXAMPLES = """
- name: Set the power mode and pin the clocks
  jetson_power:
    mode: MAXN
    clocks_pinned: true
    state_dir: /var/lib/cluster-kit
"""

RETURN = """
mode: {type: dict, returned: unless nothing was kept, description: [ID and name of the power mode at the end.]}
reboot_command: {type: str, returned: when a reboot is needed, description: [Takes the mode and reboots.]}
"""

CONF = Path("/etc/nvpmodel.conf")  # where the board lists its modes
PIN = "/usr/local/sbin/cluster-kit-clocks"  # pins the clocks, and proves it; the role places it
GPU_WAIT_S = 30.0  # for its driver, on a board that is just starting
PROMPT = "DO YOU WANT TO REBOOT NOW"
# Detached and a moment later, so that the connection which starts it can end in order. nvpmodel reboots by itself
# once it has a yes; the reboot behind it is for one that only notes the mode.
REBOOT = "/usr/bin/setsid --fork /bin/sh -c 'sleep 1; echo YES | {nvpmodel} -m {id}; sleep 5; reboot' >/dev/null 2>&1"


def parse_modes(text: str) -> dict[int, str]:
    """Returns ID -> name of the power modes in an nvpmodel.conf."""
    found = re.findall(r"^[ \t]*<[ \t]*POWER_MODEL[ \t]+ID=(\d{1,9})[ \t]+NAME=([^\s>]+)[ \t]*>", text, re.MULTILINE)
    return {int(number): name for number, name in found}


def parse_mode(text: str) -> int:
    """Returns the ID that `nvpmodel -q` prints, on the line below the name.

    Raises:
        ValueError: it prints none.
    """
    found = re.search(r"^NV Power Mode:.*\n[ \t]*(\d{1,9})[ \t\r]*$", text, re.MULTILINE)
    if not found:
        raise ValueError(f"no power mode in {text!r}: check 'nvpmodel -q' on the board")
    return int(found[1])


def find_mode(modes: dict[int, str], wanted: str) -> int:
    """Returns the ID of a mode that is given by name, in any case, or by ID.

    Raises:
        ValueError: the board has no such mode; the message lists those it has.
    """
    for number, name in modes.items():
        if wanted.lower() in (str(number), name.lower()):
            return number
    listed = ", ".join(f"{name} ({number})" for number, name in sorted(modes.items()))
    raise ValueError(f"kit_power_mode={wanted} is not one of this board's modes: give one of {listed}")


def clocks_pinned(text: str) -> bool:
    """Tells from `jetson_clocks --show` whether CPUs, GPU and memory keep one frequency.

    The memory's lowest frequency stays as it is when pinned; its override says so instead. CPUs that are off have
    no frequency to keep. A GPU whose driver is not there yet is not pinned.

    Raises:
        ValueError: there is no frequency in it.
    """
    pinned = []
    for line in text.splitlines():
        field = dict(re.findall(r"\b(\w+)=(\S+)", line))
        if field.get("Online") == "0" or not re.match(r"(cpu\d+|GPU|EMC)\b", line):
            continue
        if "FreqOverride" in field:
            pinned.append(field["FreqOverride"] == "1")
        elif "MinFreq" in field and "MaxFreq" in field:
            pinned.append(field["MinFreq"] == field["MaxFreq"])
    if not pinned:
        raise ValueError(f"no frequencies in {text!r}: check 'jetson_clocks --show' on the board")
    return all(pinned) and shows_gpu(text)


def shows_gpu(text: str) -> bool:
    """Tells from `jetson_clocks --show` whether the GPU's driver is there."""
    return re.search(r"^GPU\b.*MinFreq=", text, re.MULTILINE) is not None


def not_restored(stored: str, read: Callable[[str], str | None]) -> list[str]:
    """Returns the lowest frequencies that are not as in what `jetson_clocks --store` wrote: file, value and wanted one.

    `read` returns what a file says, or None where it is not there.
    """
    wanted = re.findall(r"^(/\S+min_freq):(\d+)$", stored, re.MULTILINE)
    found = [(name, read(name), value) for name, value in wanted]
    return [f"{name} is {now}, was {value}" for name, now, value in found if now not in (None, value)]


class Board:
    """The tools of the board that the module runs on."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.record = Path(module.params["state_dir"], "power.json")
        self.clocks = Path(module.params["state_dir"], "jetson_clocks.conf")
        self.actions: list[str] = []
        self.modes = parse_modes(CONF.read_text()) if CONF.exists() else {}

    def kept(self) -> bool:
        """Tells whether there is something to give back."""
        return self.record.exists() or self.clocks.exists()

    def fail(self, reason: str) -> NoReturn:
        self.module.fail_json(msg=reason)

    def run(self, *arguments: str, text: str | None = None) -> tuple[int, str]:
        tool = self.module.get_bin_path(arguments[0], opt_dirs=["/usr/sbin", "/usr/bin"])
        if not tool:
            self.fail(f"{arguments[0]} is missing: install NVIDIA's package nvidia-l4t-nvpmodel or nvidia-l4t-tools")
        code, out, errors = self.module.run_command([tool, *arguments[1:]], data=text)
        return code, out + errors

    def must(self, *arguments: str) -> str:
        code, printed = self.run(*arguments)
        if code:
            self.fail(f"'{' '.join(arguments)}' failed: {printed.strip()}")
        return printed

    def mode(self) -> int:
        return parse_mode(self.must("nvpmodel", "-q"))

    def pinned(self) -> bool:
        return clocks_pinned(self.must("jetson_clocks", "--show"))

    def change(self, action: str) -> bool:
        """Notes a change, and tells whether to make it."""
        self.actions.append(action)
        return not self.module.check_mode

    def keep(self, mode: int, with_clocks: bool) -> None:
        """Keeps what the board has now, unless that was kept before."""
        if not self.record.exists() and self.change("kept the earlier power mode"):
            self.record.parent.mkdir(parents=True, exist_ok=True)
            self.record.write_text(json.dumps({"mode": mode, "name": self.modes.get(mode)}) + "\n")
        if with_clocks and not self.clocks.exists() and self.change("kept the earlier clocks"):
            # By another name until complete: half a file would otherwise be what is restored one day.
            part = self.clocks.with_suffix(".part")
            part.unlink() if part.exists() else None
            self.wait_for_gpu()  # what is not stored is not given back
            self.must("jetson_clocks", "--store", str(part))
            part.rename(self.clocks)

    def set_mode(self, wanted: int) -> str | None:
        """Sets the mode; returns the command that it takes where that is a reboot."""
        if self.module.params["rebooted"]:
            self.fail(
                f"the board was rebooted for power mode {self.modes.get(wanted, wanted)}, and has "
                f"{self.modes.get(self.mode())}: run 'sudo nvpmodel -m {wanted}' on it and read its output"
            )
        if not self.change(f"set power mode {self.modes.get(wanted, wanted)}"):
            return None
        _, printed = self.run("nvpmodel", "-m", str(wanted), text="NO\n")
        if self.mode() == wanted:
            return None
        if PROMPT not in printed:
            self.fail(f"'nvpmodel -m {wanted}' left the mode at {self.modes.get(self.mode())}: {printed.strip()}")
        return REBOOT.format(nvpmodel=self.module.get_bin_path("nvpmodel", opt_dirs=["/usr/sbin"]), id=wanted)

    def pin(self) -> None:
        if self.pinned() or not self.change("pinned the clocks"):
            return
        code, _, errors = self.module.run_command([PIN])
        if code or not self.pinned():
            why = errors.strip() or f"{PIN} did not pin the clocks"
            self.fail(f"{why}: check 'sudo jetson_clocks --show' on the board, and 'sudo dmesg' for the GPU's driver")

    def wait_for_gpu(self) -> None:
        """Waits for its driver, without which jetson_clocks leaves the GPU out, and says nothing of that."""
        deadline = time.monotonic() + GPU_WAIT_S
        while not shows_gpu(self.must("jetson_clocks", "--show")):
            if time.monotonic() > deadline:
                self.fail("the GPU has no clock in 'jetson_clocks --show': check 'sudo dmesg' for its driver")
            time.sleep(1)

    def restore_clocks(self) -> None:
        """Restores the clocks and checks them: jetson_clocks exits with 0 in most failures."""
        self.wait_for_gpu()
        self.must("jetson_clocks", "--restore", str(self.clocks))
        left = not_restored(
            self.clocks.read_text(), lambda name: Path(name).read_text().strip() if Path(name).exists() else None
        )
        if left:
            self.fail(f"jetson_clocks did not restore all clocks ({', '.join(left)}): reboot the board and repeat")
        self.clocks.unlink()


def apply(board: Board) -> str | None:
    """Makes the board as wanted, or as it was; returns the command of a reboot that is needed for that."""
    options = board.module.params
    if not board.modes:
        board.fail(f"{CONF} lists no power modes, so this is not a Jetson: leave the role out (--skip-tags power)")
    now = board.mode()
    if options["state"] == "restored":
        earlier = json.loads(board.record.read_text())["mode"] if board.record.exists() else now
        reboot = board.set_mode(earlier) if earlier != now else None
        if reboot:
            return reboot
        if board.clocks.exists() and board.change("restored the earlier clocks"):
            board.restore_clocks()
        if board.record.exists() and board.change("forgot the earlier power mode"):
            board.record.unlink()
        return None
    wanted = find_mode(board.modes, options["mode"]) if options["mode"] else now
    board.keep(now, options["clocks_pinned"])
    reboot = board.set_mode(wanted) if wanted != now else None
    if reboot is None and options["clocks_pinned"]:
        board.pin()
    return reboot


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["set", "restored"], "default": "set"},
            "mode": {"type": "str", "default": ""},
            "clocks_pinned": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "required": True},
            "rebooted": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        board = Board(module)
        if module.params["state"] == "restored" and not board.kept():
            module.exit_json(changed=False, actions=[])
        reboot = apply(board)
        mode = board.mode()
    except (OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    answer: dict[str, Any] = {"mode": {"id": mode, "name": board.modes.get(mode)}, "actions": board.actions}
    if reboot:
        answer["reboot_command"] = reboot
    diff = {"before": "", "after": "".join(f"{action}\n" for action in board.actions)}
    module.exit_json(changed=bool(board.actions), diff=diff, **answer)


if __name__ == "__main__":
    main()
