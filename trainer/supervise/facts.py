"""Facts of this board: for the gates before a run (`survey`) and for the result (`gather`, `clocks`).

Standard library only. It changes nothing and needs no password; what cannot be read is null. The role check sends this
module and trainer/contract to boards without the kit and runs `survey` with the board's own Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

from trainer.contract import frequencies, interface, layout, packages, records, sysfs, tegrastats
from trainer.contract.cluster import SERVER_PORT, WORKER_PORT
from trainer.contract.releases import jetpack

_TASKS = (WORKER_PORT, SERVER_PORT)
_GOOGLE = "0x1ae0"  # as a vendor of PCI devices
_LISTENING = "0A"  # a state in /proc/net/tcp
FIREWALL, FIREWALL_UNIT = "usr/local/sbin/cluster-kit-firewall", "cluster-kit-firewall.service"  # of the role firewall


def gather(dev: Optional[str]) -> Dict[str, Any]:
    """Facts of this board by name, for its result; `dev`: the interface that carries the training traffic."""
    root = Path("/")
    emulated = _emulated(root) or {}
    installed = packages.installed()
    return {
        "hostname": socket.gethostname(),
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": platform.python_version(),
        "tensorflow": packages.tensorflow_version(installed),
        "pytorch": packages.pytorch_version(installed),
        "packages_sha256": packages.digest(installed),
        "jetpack": jetpack(_release(root), _l4t_package()),
        "module": _module(root),
        "interface": dev,
        "emulated": bool(emulated.get("emulated")),
        "link_rate_bit_per_s": emulated.get("link_rate_bit_per_s", _link_rate(root / "sys/class/net" / str(dev))),
    }


def clocks(folder: Path) -> Dict[str, Any]:
    """Whether the clocks were pinned and what throttled them in this folder's run, and their current frequencies.

    frequencies_hz: as `frequencies.frequencies`; clocks_pinned: at the run's start and end; over_current_events and
    throttled_s: over the run, as in its samples.
    """
    first, last = (look(folder / layout.TELEMETRY) or {} for look in (records.first_sample, records.last_sample))
    now = frequencies.frequencies()
    return {
        "frequencies_hz": now,
        "clocks_pinned": {"start": first.get("clocks_pinned"), "end": frequencies.pinned(now)},
        "over_current_events": last.get("over_current_events"),
        "throttled_s": last.get("throttled_s"),
    }


def survey(request: Dict[str, Any], root: Path = Path("/")) -> Dict[str, Any]:
    """All facts of this board, for the gates; `root` is another folder in tests.

    `request` has address (this board's in the training network), peers (name to address), port, python (of the boards'
    environment), home (the kit's folder), and sent_s (the controller's clock).
    """
    began_s = time.time()
    memory = _memory(root)
    routes, addresses = _routes(request["peers"]), _addresses()
    own = {"given": request["address"], "address": _resolved(request["address"])}
    dev = next((route["dev"] for route in routes.values() if route), None) or _dev_of(own["address"], addresses)
    return {
        "release": _release(root),
        "l4t_package": _l4t_package(),
        "module": _module(root),
        "machine": platform.machine(),
        "python": platform.python_version(),  # the system's, which runs this
        "os": _system(root),
        "emulated": _emulated(root),
        "nccl": _object(Path(request["home"], "nccl.json")),
        "clock": _object(Path(request["home"], "clock.json")),
        "venv": _venv(request["python"]),
        "home": _home(Path(request["home"]), root / "proc/self/mountinfo"),
        "disk_free_bytes": _disk_free(Path(request["home"])),
        "memory_available_bytes": memory.get("MemAvailable"),
        "swap_used_bytes": memory["SwapTotal"] - memory["SwapFree"] if "SwapFree" in memory else None,
        "cores": len(os.sched_getaffinity(0)),
        **_power(root),
        "frequencies_hz": frequencies.frequencies(root / "sys"),
        "temperature_c": _hottest_c(root / "sys/class/thermal"),
        "throttles": sorted(name for name, active in (frequencies.throttles(root / "sys") or {}).items() if active),
        "lock": _lock(Path(request["home"], "runs/lock.json")),
        "port": _port(request["port"], root / "proc"),
        "server_ports": {str(request["port"] + more): _port(request["port"] + more, root / "proc") for more in _TASKS},
        "tpus": _tpus(root),
        "trainers": _trainers(root / "proc"),
        "routes": routes,
        "addresses": addresses,
        "own_address": own,
        "link": _link(root / "sys/class/net", dev),
        "firewall": _firewall(root),
        "sent_s": request["sent_s"],
        "began_s": began_s,
        "ended_s": time.time(),
    }


def _release(root: Path) -> Optional[str]:
    return sysfs.text(root / "etc/nv_tegra_release")


def _system(root: Path) -> Optional[str]:
    """The system's name, such as Debian GNU/Linux 12 (bookworm)."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', sysfs.text(root / "etc/os-release") or "", re.MULTILINE)
    return found[1] if found else None


def _l4t_package() -> Optional[str]:
    """Version of the package nvidia-l4t-core, which Jetsons have."""
    return _output("dpkg-query", "--show", "--showformat=${Version}", "nvidia-l4t-core") or None


def _tpus(root: Path) -> List[str]:
    """Google's accelerators, by device file or PCI address."""
    devices = [path.name for path in sorted(root.glob("dev/accel[0-9]*"))]
    vendors = sorted(root.glob("sys/bus/pci/devices/*/vendor"))
    return devices or [path.parent.name for path in vendors if sysfs.text(path) == _GOOGLE]


def _module(root: Path) -> Optional[str]:
    """The board's model from /proc/device-tree, such as nvidia,p3737-0000+p3701-0000."""
    return (sysfs.text(root / "sys/firmware/devicetree/base/compatible") or "").partition("\0")[0] or None


def _emulated(root: Path) -> Optional[Dict[str, Any]]:
    return _object(root / str(layout.EMULATED).lstrip("/"))


def _object(path: Path) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(sysfs.text(path) or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _output(*command: str, text: str = "", whatever_code: bool = False) -> Optional[str]:
    """A command's output, with `text` as its input; None if it is missing, hangs or fails."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},  # not in every account's path
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 or whatever_code else None


def _venv(python: str) -> Optional[Dict[str, Any]]:
    """The packages of this interpreter's environment, as it reports them."""
    script = packages.__loader__.get_source(packages.__name__)  # type: ignore[union-attr]
    printed = _output(python, "-c", script)
    return json.loads(printed) if printed else None


def _disk_free(folder: Path) -> Optional[int]:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(str(folder)).free


def _home(home: Path, mounts: Path) -> Optional[Dict[str, Any]]:
    """What identifies a folder, to find boards that share one; a missing folder counts as its parent."""
    here = Path(os.path.realpath(str(home)))
    missing: List[str] = []
    try:
        while not here.exists():
            missing.insert(0, here.name)
            here = here.parent
        with contextlib.suppress(PermissionError):
            os.close(os.open(str(here), os.O_RDONLY))  # over a network, asks the server again
        found = here.stat()
    except OSError:
        return None
    source = kind = inside = None
    for line in (sysfs.text(mounts) or "").splitlines():
        before, _, after = line.partition(" - ")
        root, point = (re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), text) for text in before.split()[3:5])
        if here == Path(point) or Path(point) in here.parents:  # a later mount covers earlier ones
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
    lines = (sysfs.text(root / "proc/meminfo") or "").splitlines()
    return {line.partition(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}


def _power(root: Path) -> Dict[str, Any]:
    """The power mode, and the masks of the GPU parts that it switches off: live ones, else the mode's."""
    config = sysfs.text(root / "etc/nvpmodel.conf") or ""
    printed = config and (_output("nvpmodel", "-q") or _output("sudo", "-n", "nvpmodel", "-q"))
    found = re.search(r"NV Power Mode: *(\S+)\s+(\d+)", printed or "")
    mode, number = found.groups() if found else (None, None)
    paths = {name: sysfs.text(Path(path)) for name, path in re.findall(r"^(\w+_PG_MASK)\s+(/\S+)", config, re.M)}
    block = re.search(rf"<\s*POWER_MODEL ID=\d+ NAME={re.escape(mode or '')}\s*>([^<]*)", config) if mode else None
    planned = dict(re.findall(r"^\w+ (\w+_PG_MASK)\s+(\S+)", block[1] if block else "", re.M))
    live = {name: value for name, value in paths.items() if value is not None}
    return {"power_mode": mode, "power_mode_id": number, "gpu_mask": {**planned, **live} or None}


def _hottest_c(folder: Path) -> Optional[float]:
    zones = [(sysfs.text(path / "type") or "", sysfs.number(path / "temp")) for path in folder.glob("thermal_zone*")]
    # two zones may have the same name
    return max(
        (
            celsius
            for name, value in zones
            if value is not None and (celsius := tegrastats.hottest_c({name: value / 1000})) is not None
        ),
        default=None,
    )


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _port(port: int, proc: Path) -> Dict[str, Any]:
    """Whether a process listens at the port, and which, where this account may see it."""
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in (sysfs.text(proc / table) or "").splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    holder: Dict[str, Any] = {"pid": None, "command": None}
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            held = any(os.readlink(str(link)) in inodes for link in (process / "fd").iterdir())
        except OSError:  # of another account, or just ended
            continue
        if held:
            holder = {"pid": int(process.name), "command": _command(process)}
    return {"free": not inodes, **holder}


def _lock(path: Path) -> Optional[Dict[str, Any]]:
    """The run that uses the board; None if none of its processes lives, whatever the file says."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _object(path) or {}
    except OSError:
        pass
    return None


def _trainers(proc: Path) -> List[Dict[str, Any]]:
    """The trainers and supervisors that run now."""
    commands = {int(process.name): _command(process) for process in proc.glob("[0-9]*")}
    pattern = re.compile(r"\S*python\S* .*-m trainer(\.(supervise\.)?supervisor)?( |$)")
    return [{"pid": pid, "command": text} for pid, text in sorted(commands.items()) if pattern.match(text)]


def _routes(peers: Dict[str, str]) -> Dict[str, Optional[Dict[str, Any]]]:
    """By board the interface of the route to it, None without a route; asked in one process."""
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
    """All IPv4 addresses by interface; None where the board does not report them."""
    found: Dict[str, List[str]] = {}
    try:
        for dev, address in interface.addresses():
            found.setdefault(dev, []).append(address)
    except OSError:
        return None
    return found


def _dev_of(address: Optional[str], addresses: Optional[Dict[str, List[str]]]) -> Optional[str]:
    """The interface that has an address."""
    return next((dev for dev, local in (addresses or {}).items() if address in local), None)


def _is_wireless(dev: str) -> bool:
    folder = Path("/sys/class/net", dev)
    return dev.startswith("wl") or (folder / "wireless").exists() or (folder / "phy80211").exists()


def _firewall(root: Path) -> Dict[str, Any]:
    """What of the role firewall is loaded: ports that only peers reach, None if unknown; and the unit's state.

    The kernel shows its rules to root alone, so the ports are known where sudo asks for no password.
    """
    if not (root / FIREWALL).exists():
        return {"ports": [], "unit": None}
    printed = _output("sudo", "-n", "sh", "-c", '"$0" show; echo "code $?"', f"/{FIREWALL}") or ""
    rules, told, code = printed.rpartition("code ")
    drops = code.strip() == "0" and re.search(r"\bdrop\b", rules, re.IGNORECASE)
    ports = sorted({int(port) for port in re.findall(r"\bdport (\d+)", rules)}) if drops else []
    unit = (_output("systemctl", "is-active", FIREWALL_UNIT, whatever_code=True) or "").strip()
    return {"ports": ports if told else None, "unit": unit or None}


def _link(net: Path, dev: Optional[str]) -> Optional[Dict[str, Any]]:
    if not dev:
        return None
    return {
        "dev": dev,
        "mtu_bytes": sysfs.number(net / dev / "mtu"),
        "bit_per_s": _link_rate(net / dev),
        "duplex": sysfs.text(net / dev / "duplex"),
    }


def _link_rate(folder: Path) -> Optional[int]:
    speed = sysfs.number(folder / "speed")  # Mbit/s; -1 or unreadable if the driver does not know
    return speed * 1_000_000 if speed and speed > 0 else None
