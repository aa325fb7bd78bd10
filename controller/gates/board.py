"""Gates for a single board: each is a function from the board's facts to findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from controller.addresses import is_own_network
from trainer.contract import frequencies, packages, releases
from trainer.contract.cluster import SERVER_PORT, WORKER_PORT
from trainer.contract.strategies import PARAMETER_SERVER, PYTORCH, TENSORFLOW, TPU

REFUSE, WARN = "refuse", "warn"
_JETPACKS = {release.jetpack for release in releases.RELEASES.values()}
Facts = dict[str, Any]  # from the survey of trainer/supervise/facts.py, plus report.py's


@dataclass(frozen=True)
class Needs:
    """A run's requirements for its boards; meaning, units and defaults are in roles/check/defaults."""

    python: str
    engine: str
    jetpack: str
    tensorflow: str
    pytorch: str
    power_mode: str
    clocks_pinned: int
    disk_bytes: int
    memory_bytes: int
    swap_used_bytes: int
    temperature_c: float
    clock_error_s: float
    port: int
    mtu_bytes: int
    link_bit_per_s: int
    throughput_fraction: float
    round_trip_s: float
    communication: str
    strict_communication: bool
    strategy: str
    firewall_required: bool


class Violation(NamedTuple):
    """A gate's finding about a board."""

    found: str
    wanted: str
    remedy: str
    severity: str = REFUSE


_Check = Callable[[Facts, Needs], Iterator[Violation]]
GATES: dict[str, _Check] = {}


def _gate(name: str) -> Callable[[_Check], _Check]:
    def register(check: _Check) -> _Check:
        GATES[name] = check
        return check

    return register


def is_jetson(facts: Facts) -> bool:
    """Whether the board is a Jetson, or dressed as one."""
    return bool(facts["release"] or facts["l4t_package"] or "nvidia" in (facts["module"] or ""))


def flash(jetpack: str) -> str:
    """The remedy for a wrong JetPack; `jetpack`: the wanted one, empty for any that the kit knows."""
    jetpack = jetpack or releases.PAPER.jetpack
    return f"flash JetPack {jetpack} with NVIDIA's SDK Manager, then enrol and provision the board again"


@_gate("board.jetpack")
def _jetpack(facts: Facts, needs: Needs) -> Iterator[Violation]:
    found = facts["jetpack"]
    fits = found == needs.jetpack if needs.jetpack else found in _JETPACKS
    if is_jetson(facts) and not fits:
        missing = "no /etc/nv_tegra_release, no nvidia-l4t-core"
        yield Violation(found or missing, f"JetPack {needs.jetpack or releases.KNOWN}", flash(needs.jetpack))


@_gate("board.tensorflow")
def _tensorflow(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if needs.engine != TENSORFLOW:
        return
    remedy = "set it up with playbooks/provision.yml --tags python_env"
    found = (facts["venv"] or {}).get("tensorflow")
    keras = packages.missing_keras((facts["venv"] or {}).get("packages") or {})
    if found and keras:
        yield Violation(f"TensorFlow {found} with Keras 3 alone", f"{keras}, its Keras 2", remedy)
    elif not _fits(found, needs.tensorflow, (2, 12)):
        yield Violation(_engine(facts, needs, found), f"TensorFlow {needs.tensorflow or '2.12 or newer'}", remedy)


def _fits(found: str | None, wanted: str, oldest: tuple[int, int]) -> bool:
    """Whether a version is the wanted one or begins so; with an empty one, whether the trainer runs on it."""
    if found is None or wanted:
        return found is not None and (wanted == found or found.startswith((f"{wanted}.", f"{wanted}+")))
    numbers = re.match(r"(\d+)\.(\d+)", found)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= oldest


@_gate("board.pytorch")
def _pytorch(facts: Facts, needs: Needs) -> Iterator[Violation]:
    found = (facts["venv"] or {}).get("pytorch")
    if needs.engine == PYTORCH and not _fits(found, needs.pytorch, (2, 2)):
        remedy = (
            "on a board, give a build as torch_env_torch, then playbooks/provision.yml --tags torch_env; for emulated "
            "boards, make setup-torch lab-up"
        )
        yield Violation(_engine(facts, needs, found), f"PyTorch {needs.pytorch or '2.2 or newer'}", remedy)


def _engine(facts: Facts, needs: Needs, found: str | None) -> str:
    """An engine that does not fit, in words."""
    return f"no working {needs.python}" if facts["venv"] is None else found or f"none for {needs.python}"


@_gate("board.disk")
def _disk(facts: Facts, needs: Needs) -> Iterator[Violation]:
    yield from _too_little(
        facts["disk_free_bytes"], needs.disk_bytes, "free", "delete files that the board does not need"
    )


@_gate("board.memory")
def _memory(facts: Facts, needs: Needs) -> Iterator[Violation]:
    remedy = "stop other programs on the board (top -o %MEM), or the desktop: sudo systemctl stop display-manager"
    yield from _too_little(facts["memory_available_bytes"], needs.memory_bytes, "available", remedy)


@_gate("board.swap")
def _swap(facts: Facts, needs: Needs) -> Iterator[Violation]:
    used = facts["swap_used_bytes"]
    if used is not None and used > needs.swap_used_bytes and not facts["emulated"]:
        remedy = "training slows down if it swaps: stop other programs, or reboot the board"
        yield Violation(f"{_bytes(used)} used", f"at most {_bytes(needs.swap_used_bytes)}", remedy, WARN)


@_gate("board.power_mode")
def _power_mode(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if not is_jetson(facts):
        return
    if facts["power_mode"] is None:
        yield Violation("unknown", needs.power_mode or "a known one", "check that nvpmodel -q works on the board", WARN)
    elif needs.power_mode.upper() not in ("", facts["power_mode"].upper(), facts["power_mode_id"]):
        yield Violation(facts["power_mode"], needs.power_mode, "set it with playbooks/provision.yml --tags power")


@_gate("board.frequencies")
def _frequencies(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if not is_jetson(facts) or not needs.clocks_pinned:
        return
    found, wanted = facts["frequencies_hz"] or {}, "pinned clocks"
    loose = frequencies.unpinned(found)
    if loose:
        remedy = "pin them with playbooks/provision.yml --tags power"
        yield Violation(f"unpinned: {clocks(loose)}", wanted, remedy)
    kinds = {"GPU" if frequencies.is_gpu(name) else "CPUs" for name in found}
    unknown = [kind for kind in ("CPUs", "GPU") if kind not in kinds]
    if unknown:
        remedy = "check that the board's kernel shows them in /sys/devices/system/cpu/cpufreq and /sys/class/devfreq"
        yield Violation(f"no frequency of its {' and '.join(unknown)}", wanted, remedy, WARN)


@_gate("board.temperature")
def _temperature(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if facts["emulated"] and not is_jetson(facts):
        return  # emulated boards share this machine's sensors, unless they are dressed as Jetsons
    remedy = "let the board cool down; check its fan and its place"
    if facts["throttles"]:
        yield Violation(f"throttled: {', '.join(facts['throttles'])}", "no throttling", remedy)
    elif (facts["temperature_c"] or 0) >= needs.temperature_c:
        yield Violation(f"{facts['temperature_c']:.0f} C", f"below {needs.temperature_c:.0f} C", remedy)


@_gate("board.lock")
def _lock(facts: Facts, needs: Needs) -> Iterator[Violation]:
    lock = facts["lock"]
    if lock is not None:
        run_id = lock.get("run_id", "unknown")
        minutes = max(0.0, facts["ended_s"] - lock.get("since_s", facts["ended_s"])) / 60
        remedy = (
            f"wait, or collect it with playbooks/collect.yml -e run_id={run_id}, or stop it with playbooks/stop.yml"
        )
        yield Violation(f"run {run_id} of {lock.get('owner')}, for {minutes:.0f} min", "no other run", remedy)


@_gate("board.port")
def _port(facts: Facts, needs: Needs) -> Iterator[Violation]:
    ports = {str(needs.port): facts["port"]}
    if needs.strategy == PARAMETER_SERVER:
        ports.update(facts["server_ports"])
    for number, port in ports.items():
        if not port["free"] and facts["lock"] is None:
            held = f"pid {port['pid']}, {port['command']}" if port["pid"] else "a process of another account"
            how = f"sudo kill {port['pid']}" if port["pid"] else f"sudo ss -ltnp 'sport = :{number}' shows it"
            yield Violation(f"held by {held}", f"port {number} free", f"stop that process on the board: {how}")


@_gate("board.tpu")
def _tpu(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if needs.strategy == TPU and not facts["tpus"]:
        found = "neither a /dev/accel* nor a PCI device of Google's"
        yield Violation(found, "a TPU (strategy tpu)", "choose another strategy, such as mirrored, or leave it out")


@_gate("board.stale_trainer")
def _stale_trainer(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if facts["trainers"] and facts["lock"] is None:
        pids = " ".join(str(trainer["pid"]) for trainer in facts["trainers"])
        remedy = f"wait if a run is active; else, on the board: sudo kill {pids}"
        yield Violation(f"pid {pids}: {facts['trainers'][0]['command']}", "no trainer", remedy)


@_gate("board.clock")
def _clock(facts: Facts, needs: Needs) -> Iterator[Violation]:
    error_s = facts["clock_error_s"]
    if abs(error_s) > needs.clock_error_s:
        found = f"{abs(error_s):.1f} s {'ahead' if error_s > 0 else 'behind'}"
        wanted = f"within {needs.clock_error_s:g} s of the controller"
        yield Violation(found, wanted, "set it with playbooks/provision.yml --tags clock")


@_gate("network.address")
def _address(facts: Facts, needs: Needs) -> Iterator[Violation]:
    own, addresses = facts["own_address"], facts["addresses"]
    if not facts["routes"] or addresses is None:
        return  # a single board needs no network
    dev = next((dev for dev, local in addresses.items() if own["address"] in local), None)
    name = own["given"] if own["address"] in (own["given"], None) else f"{own['given']} ({own['address']} on the board)"
    remedy = "correct its training_address in the inventory's hosts.yml"
    if own["address"] is None:
        found = f"the board cannot resolve {name}"
    elif own["address"].startswith("127."):
        found = f"{name} is a loopback address"
        remedy = "its /etc/hosts maps its name to it: give its IPv4 address as training_address in hosts.yml"
    elif dev is None:
        found = f"{name} is on no interface of the board"
    elif is_own_network(dev):
        found = f"{name} is on {dev}, a network inside the board"
    else:
        ways = {route["dev"]: peer for peer, route in facts["routes"].items() if route and not route["wireless"]}
        for way in sorted(way for way in ways if way not in (dev, "lo") and not is_own_network(way)):
            remedy = f"bytes are counted on {dev} only: check ip route on the board"
            yield Violation(
                f"on {dev}, but the route to {ways[way]} uses {way}", "one interface in both directions", remedy, WARN
            )
        return
    others = {other: local for other, local in addresses.items() if other != "lo" and not is_own_network(other)}
    has = "; ".join(f"{other} has {', '.join(local)}" for other, local in others.items())
    yield Violation(found, "an address of the board", f"{remedy}: {has or 'it has no other'}")


@_gate("network.wired")
def _wired(facts: Facts, needs: Needs) -> Iterator[Violation]:
    peers: dict[tuple[str, bool] | None, list[str]] = {}
    for peer, route in facts["routes"].items():
        peers.setdefault((route["dev"], route["wireless"]) if route else None, []).append(peer)
    for to, names in peers.items():
        if to is None:
            found = f"no route to {_several(names)}"
            yield Violation(found, "a wired interface", "check the training_address and the cable")
        elif to[0] == "lo":
            remedy = "give each board a training_address of its own"
            yield Violation(f"has the address of {_several(names)} itself", "a wired interface", remedy)
        elif is_own_network(to[0]):
            remedy = f"the board's own network {to[0]} has the same range: give the boards addresses in another network"
            yield Violation(f"{to[0]}, the board's own network, to {_several(names)}", "a wired interface", remedy)
        elif to[1]:
            remedy = f"sudo ip link set {to[0]} down, or playbooks/provision.yml --tags network"
            yield Violation(f"{to[0]} (wireless) to {_several(names)}", "a wired interface", remedy)


@_gate("network.mtu")
def _mtu(facts: Facts, needs: Needs) -> Iterator[Violation]:
    mtu = (facts["link"] or {}).get("mtu_bytes") if facts["routes"] else None
    if mtu is not None and mtu < needs.mtu_bytes:
        remedy = "set network_mtu to what the switch supports, then playbooks/provision.yml --tags network"
        yield Violation(f"{mtu} bytes on {facts['link']['dev']}", f"{needs.mtu_bytes} or more", remedy)


@_gate("network.speed")
def _speed(facts: Facts, needs: Needs) -> Iterator[Violation]:
    link = facts["link"] or {}
    if not facts["routes"] or facts["emulated"]:
        return  # the lab's link has its configured rate
    remedy = "try another cable and another switch port"
    if link.get("bit_per_s") is not None and link["bit_per_s"] < needs.link_bit_per_s:
        found = f"{rate(link['bit_per_s'])} on {link['dev']}"
        yield Violation(found, f"{rate(needs.link_bit_per_s)} or more", remedy)
    if link.get("duplex") == "half":
        yield Violation(f"half duplex on {link['dev']}", "full duplex", remedy)


@_gate("network.firewall")
def _firewall(facts: Facts, needs: Needs) -> Iterator[Violation]:
    ports, unit, wanted = facts["firewall"]["ports"], facts["firewall"]["unit"], [needs.port, needs.port + 1]
    if needs.strategy == PARAMETER_SERVER:
        wanted += [needs.port + WORKER_PORT, needs.port + SERVER_PORT]
    # a board alone opens no port, and nothing but this machine is in the lab's network
    if not needs.firewall_required and (not facts["routes"] or (facts["emulated"] and not is_jetson(facts))):
        return
    if {*wanted} <= {*(ports or [])} or (ports is None and unit == "active"):
        return
    found = "no rules of the kit are loaded" if unit != "active" or ports == [] else "its rules cannot be read"
    if ports:
        found = f"rules for {' and '.join(map(str, ports))}"
    remedy = (
        "load them with playbooks/provision.yml --tags firewall: whoever reaches TensorFlow's port can run what they "
        "like on the board"
    )
    yield Violation(
        found,
        f"{' and '.join(map(str, wanted))} open to boards only",
        remedy,
        REFUSE if needs.firewall_required else WARN,
    )


@_gate("collective.torch")
def _torch(facts: Facts, needs: Needs) -> Iterator[Violation]:
    tried = facts.get("torch_trial")  # null where none was tried, as with one board
    if tried and tried["error"]:
        remedy = (
            "the boards need a PyTorch with torch.distributed, which NVIDIA's for JetPack 5 lacks: give another build "
            "as torch_env_torch, then playbooks/provision.yml --tags torch_env; where only the connection failed, "
            "check the firewall between the boards"
        )
        yield Violation(tried["error"], "an all-reduce by torch.distributed", remedy)


@_gate("collective.nccl")
def _nccl(facts: Facts, needs: Needs) -> Iterator[Violation]:
    if needs.engine != TENSORFLOW:
        return  # PyTorch says which backend it runs
    probe = facts["nccl"] or {}  # written by roles/nccl for the TensorFlow installed then
    same = bool(probe) and probe.get("tensorflow") == (facts["venv"] or {}).get("tensorflow")
    capable = probe.get("capable") if same else None
    tried = facts.get("nccl_trial")  # of an all-reduce; null if none was tried, as on boards that are not capable
    if not facts["routes"] or needs.communication not in ("", "nccl") or needs.strategy == PARAMETER_SERVER:
        return  # a single board does not communicate, and servers need no collectives
    another = 'choose another: -e \'{"override": {"sync": {"implementation": "ring"}}}\''
    if capable and tried and tried["used"] != "NcclReduce":
        found = tried["error"] or f"{tried['used'] or 'no known collective'} ran in a trial"
        remedy = f"run it by hand with NCCL_DEBUG=INFO, or {another}"
        yield Violation(found, "an all-reduce by NCCL", remedy, REFUSE if needs.communication else WARN)
    elif capable is False or (capable is None and needs.communication):
        found = probe.get("evidence") or "the board's TensorFlow has no NCCL kernels"
        probing = "" if same else "probe it with playbooks/provision.yml --tags nccl; "
        strict = needs.strict_communication
        remedy = (
            f"leave sync.strict_implementation out, or {another}"
            if strict
            else "without NCCL, TensorFlow runs its RingReduce over gRPC, as the run's manifest and verdict will say; "
            "sync.strict_implementation: true refuses such boards"
        )
        wanted = "a TensorFlow with NCCL" + (" (sync.strict_implementation)" if strict else "")
        yield Violation(
            found if same else "not known to support NCCL", wanted, probing + remedy, REFUSE if strict else WARN
        )


# ---- formatting


def clocks(found: Mapping[str, Sequence[int]]) -> str:
    """Frequencies for display: 'CPU policy0 2202 MHz, GPU 306 to 1300 MHz'."""
    return ", ".join(f"{_clock_name(name)} {_span(least, greatest)} MHz" for name, (least, greatest) in found.items())


def _clock_name(name: str) -> str:
    return "GPU" if frequencies.is_gpu(name) else f"CPU {name}"


def _span(least: int, greatest: int) -> str:
    return f"{greatest / 1e6:.0f}" if least == greatest else f"{least / 1e6:.0f} to {greatest / 1e6:.0f}"


def _too_little(found: int | None, wanted: int, what: str, remedy: str) -> Iterator[Violation]:
    if found is not None and found < wanted:
        yield Violation(f"{_bytes(found)} {what}", f"{_bytes(wanted)} or more", remedy)


def _several(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) < 4 else f"{names[0]}, {names[1]} and {len(names) - 2} others"


def _bytes(count: int | float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def rate(bit_per_s: float) -> str:
    return f"{bit_per_s / 1e6:.0f} Mbit/s"
