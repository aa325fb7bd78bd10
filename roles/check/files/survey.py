"""What a board is and has, as JSON, for the gates on the controller: `python3 - REQUEST < survey.py`.

Runs with the board's own Python before anything of the kit is there, so it is one file of the standard library's.
It changes nothing and asks for no password; what cannot be read is null. The request (JSON) has: address (this
board's in the training network), peers (name to address), port, python (of the boards' environment), packages (the
script that says what that has), home, and sent_s (the controller's clock).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

LISTENING = "0A"  # a state in /proc/net/tcp


def survey(request: Dict[str, Any], root: Path = Path("/")) -> Dict[str, Any]:
    """All facts of this board; `root` is another folder in tests."""
    began_s = time.time()
    memory = _memory(root)
    routes, addresses = _routes(request["peers"]), _addresses()
    own = {"given": request["address"], "address": _resolved(request["address"])}
    dev = next((route["dev"] for route in routes.values() if route), None) or _dev_of(own["address"], addresses)
    return {
        "release": _text(root / "etc/nv_tegra_release"),
        "l4t_package": _output("dpkg-query", "--show", "--showformat=${Version}", "nvidia-l4t-core"),
        "module": (_text(root / "sys/firmware/devicetree/base/compatible") or "").partition("\0")[0] or None,
        "emulated": _object(root / "etc/cluster-kit/emulated.json"),
        "nccl": _object(Path(request["home"], "nccl.json")),
        "clock": _object(Path(request["home"], "clock.json")),
        "venv": _venv(request["python"], request["packages"]),
        "home": _home(Path(request["home"]), root / "proc/self/mountinfo"),
        "disk_free_bytes": _disk_free(Path(request["home"])),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": memory["SwapTotal"] - memory["SwapFree"] if "SwapFree" in memory else None,
        "cores": len(os.sched_getaffinity(0)),
        **_power(root),
        "frequencies_hz": _frequencies(root / "sys"),
        **_thermal(root / "sys/class/thermal"),
        "lock": _lock(Path(request["home"], "runs/lock.json")),
        "port": _port(request["port"], root / "proc"),
        "trainers": _trainers(root / "proc"),
        "routes": routes,
        "addresses": addresses,
        "own_address": own,
        "link": _link(root / "sys/class/net", dev),
        "sent_s": request["sent_s"],
        "began_s": began_s,
        "ended_s": time.time(),
    }


def _text(path: Path) -> Optional[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except (OSError, TypeError):  # what Python makes of EAGAIN, as zones of parts without power answer
        return None


def _number(path: Path) -> Optional[int]:
    try:
        return int(_text(path) or "", 0)
    except ValueError:
        return None


def _object(path: Path) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(_text(path) or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _output(*command: str, text: str = "", whatever_code: bool = False) -> Optional[str]:
    """What a command that reads `text` prints; None where it is missing, hangs, or fails unless that does not count."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},  # of an account that is not root
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 or whatever_code else None


def _venv(python: str, script: str) -> Optional[Dict[str, Any]]:
    printed = _output(python, "-c", script)
    return json.loads(printed) if printed else None


def _disk_free(folder: Path) -> Optional[int]:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(str(folder)).free


def _home(home: Path, mounts: Path) -> Optional[Dict[str, Any]]:
    """By what two boards that have one folder are told; one that is not there yet counts by where it would be."""
    here = Path(os.path.realpath(str(home)))
    missing: List[str] = []
    try:
        while not here.exists():
            missing.insert(0, here.name)
            here = here.parent
        with contextlib.suppress(PermissionError):
            os.close(os.open(str(here), os.O_RDONLY))  # over a network, asks the server anew
        found = here.stat()
    except OSError:
        return None
    source = kind = inside = None
    for line in (_text(mounts) or "").splitlines():
        before, _, after = line.partition(" - ")
        root, point = (re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), text) for text in before.split()[3:5])
        if here == Path(point) or Path(point) in here.parents:  # a later mount lies over those before it
            kind, source = after.split()[:2]
            inside = str(Path(root, here.relative_to(point), *missing))
    return {
        "path": str(home),
        "missing": "/".join(missing),
        "kind": kind,
        "source": source,
        "inside": inside,
        "device": found.st_dev,
        "inode": found.st_ino,
        "changed_ns": found.st_ctime_ns,
    }


def _memory(root: Path) -> Dict[str, int]:
    lines = (_text(root / "proc/meminfo") or "").splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


def _power(root: Path) -> Dict[str, Any]:
    """The power mode, and the masks of the GPU's parts that it switches off: live ones, else the mode's."""
    config = _text(root / "etc/nvpmodel.conf") or ""
    printed = config and (_output("nvpmodel", "-q") or _output("sudo", "-n", "nvpmodel", "-q"))
    found = re.search(r"NV Power Mode: *(\S+)\s+(\d+)", printed or "")
    mode, number = found.groups() if found else (None, None)
    paths = {name: _text(Path(path)) for name, path in re.findall(r"^(\w+_PG_MASK)\s+(/\S+)", config, re.M)}
    block = re.search(rf"<\s*POWER_MODEL ID=\d+ NAME={re.escape(mode or '')}\s*>([^<]*)", config) if mode else None
    planned = dict(re.findall(r"^\w+ (\w+_PG_MASK)\s+(\S+)", block[1] if block else "", re.M))
    live = {name: value for name, value in paths.items() if value is not None}
    return {"power_mode": mode, "power_mode_id": number, "gpu_mask": {**planned, **live} or None}


def _frequencies(sys_: Path) -> Optional[Dict[str, List[int]]]:
    """The least and the greatest one by clock, as trainer.contract.frequencies has them."""
    policies = sorted((sys_ / "devices/system/cpu/cpufreq").glob("policy*"))
    folders = [(path, "scaling_", 1000) for path in policies if _text(path / "affected_cpus") != ""]
    devices = sorted((sys_ / "class/devfreq").glob("*"))
    folders += [(path, "", 1) for path in devices if re.search(r"\.(g[a-z]\d+b|gpu)$", path.name)]
    found = {}
    for path, prefix, hz in folders:
        least, greatest = (_number(path / f"{prefix}{end}_freq") for end in ("min", "max"))
        if least is not None and greatest is not None:
            found[path.name] = [least * hz, greatest * hz]
    return found or None


def _thermal(folder: Path) -> Dict[str, Any]:
    """The hottest sensor that is on and measures heat, as tegrastats.hottest_c, and what is throttled."""
    zones = [((_text(path / "type") or "").upper(), _number(path / "temp")) for path in folder.glob("thermal_zone*")]
    off, well = -256_000, 100_000  # of a part without power, and of any PMIC below its alarms
    degrees = [
        value
        for name, value in zones
        if value is not None and value > off and not (name.startswith("PMIC") and value == well)
    ]
    throttles = [_text(path / "type") for path in folder.glob("cooling_device*") if _number(path / "cur_state")]
    return {
        "temperature_c": max(degrees) / 1000 if degrees else None,
        "throttles": sorted(name for name in throttles if name and "throttle" in name.lower()),
    }


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _port(port: int, proc: Path) -> Dict[str, Any]:
    """Whether somebody listens at the port, and who, where this account may see it."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in (_text(proc / table) or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    holder: Dict[str, Any] = {"pid": None, "command": None}
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            held = any(os.readlink(str(link)) in inodes for link in (process / "fd").iterdir())
        except OSError:  # another account's, or just ended
            continue
        if held:
            holder = {"pid": int(process.name), "command": _command(process)}
    return {"free": not inodes, **holder}


def _lock(path: Path) -> Optional[Dict[str, Any]]:
    """Whose run has the board; None where no process of one lives, whatever the file says."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _object(path) or {}
    except OSError:
        pass
    return None


def _trainers(proc: Path) -> List[Dict[str, Any]]:
    """Trainers and their supervisors that run now."""
    commands = {int(process.name): _command(process) for process in proc.glob("[0-9]*")}
    pattern = re.compile(r"\S*python\S* .*-m trainer(\.(supervise\.)?supervisor)?( |$)")
    return [{"pid": pid, "command": text} for pid, text in sorted(commands.items()) if pattern.match(text)]


def _routes(peers: Dict[str, str]) -> Dict[str, Optional[Dict[str, Any]]]:
    """By board the interface to its address, None where there is no route; one process for all of them."""
    addresses = {name: _resolved(address) for name, address in peers.items()}
    asked = "".join(f"route get {address}\n" for address in addresses.values() if address)
    printed = _output("ip", "-4", "-force", "-batch", "-", text=asked, whatever_code=True) if asked else None
    devices = dict(re.findall(r"^(?:local )?(\S+) .*?\bdev (\S+)", printed or "", re.MULTILINE))
    return {
        name: {"dev": devices[address], "wireless": _is_wireless(devices[address])} if address in devices else None
        for name, address in addresses.items()
    }


def _resolved(address: str) -> Optional[str]:
    try:
        return socket.gethostbyname(address)
    except OSError:
        return None


def _addresses() -> Optional[Dict[str, List[str]]]:
    """By interface its IPv4 addresses, also those beside its first one; None where the board does not tell."""
    printed = _output("ip", "-4", "-oneline", "address")
    if printed is None:
        return None
    found: Dict[str, List[str]] = {}
    for dev, address in re.findall(r"^\d+: (\S+) +inet ([\d.]+)", printed, re.MULTILINE):
        found.setdefault(dev, []).append(address)
    return found


def _dev_of(address: Optional[str], addresses: Optional[Dict[str, List[str]]]) -> Optional[str]:
    """The interface that has an address."""
    return next((dev for dev, local in (addresses or {}).items() if address in local), None)


def _is_wireless(dev: str) -> bool:
    folder = Path("/sys/class/net", dev)
    return dev.startswith("wl") or (folder / "wireless").exists() or (folder / "phy80211").exists()


def _link(net: Path, dev: Optional[str]) -> Optional[Dict[str, Any]]:
    if not dev:
        return None
    speed = _number(net / dev / "speed")  # Mbit/s; -1 or unreadable where the driver does not know
    return {
        "dev": dev,
        "mtu_bytes": _number(net / dev / "mtu"),
        "bit_per_s": speed * 1_000_000 if speed and speed > 0 else None,
        "duplex": _text(net / dev / "duplex"),
    }


if __name__ == "__main__":
    print(json.dumps(survey(json.loads(sys.argv[1]))))
