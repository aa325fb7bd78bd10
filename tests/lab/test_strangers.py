"""Strangers on the boards' network: nothing of a run answers them, and what they send changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from conftest import Lab, training_lab
from test_faults import LASTING, RUNS, Run, playbook, slowly

from plugins.module_utils import lab_link
from tests import PROJECT

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.thorough]

lab = training_lab(17)

PORT = 12345
OPEN = 9999  # what anybody may reach on a board, which shows that the probe would find the kit's ports
LONG = {**LASTING, "epochs": 50}
SCRIPT = "/usr/local/sbin/cluster-kit-firewall"

# Prints what answers: address, port and kind.
PROBE = """\
import json, socket, sys
addresses, ports = json.loads(sys.argv[1])
found = []
for address in addresses:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for port in ports:
            family, _, _, _, where = socket.getaddrinfo(address, port, type=kind)[0]
            with socket.socket(family, kind) as one:
                one.settimeout(1.5)
                try:
                    one.connect(where)
                    if kind == socket.SOCK_DGRAM:
                        one.send(b"[" * 1400)
                        one.recv(2048)
                    found.append([address, port, kind.name])
                except OSError:
                    pass
print(json.dumps(found))
"""

# Sends heartbeats in another board's name: argv has the board, the forged sender, and what a message says of its run.
FORGE = """\
import json, os, socket, struct, sys, time
board, sender, port, run_id = sys.argv[1:]
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
def send(content):
    udp = struct.pack("!HHHH", int(port), int(port), 8 + len(content), 0)
    ends = socket.inet_aton(sender) + socket.inet_aton(board)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + ends
    raw.sendto(ip + udp + content, (board, 0))
for state in ("failed", "interrupted", "succeeded", "running"):
    for rank in (0, 1):
        send(json.dumps({"run_id": run_id, "rank": rank, "state": state, "cause": "forged"}).encode())
for n in range(10_000):
    send(b"[" * 1400 if n % 10 == 0 else os.urandom(1 + n % 1300))
    if n % 100 == 0:
        time.sleep(0.02)
"""


def network_of(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


@pytest.fixture
def stranger(lab: Lab) -> Iterator[list[str]]:
    """What puts a command on a machine that is connected to the boards' switch and is in no group."""
    switch = next(owner.pid for owner in lab.processes() if "interface" in owner.part)
    with subprocess.Popen(["unshare", "--net", "sleep", "infinity"]) as machine:
        try:
            deadline = time.monotonic() + 10
            while network_of(machine.pid) == Path("/proc/self/ns/net").stat().st_ino:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            lab_link.connect(switch, machine.pid, f"{lab.network}.77", 24, 10**9)
            yield ["nsenter", f"--target={machine.pid}", "--net", "--", sys.executable, "-c"]
        finally:
            machine.kill()


@pytest.fixture
def guarded(lab: Lab) -> Iterator[None]:
    """The boards with the rules of the role firewall, as its template has them."""
    folder = PROJECT / "roles/firewall/templates"
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), trim_blocks=True)
    environment.tests["search"] = lambda text, part: part in text  # as Ansible's, for what the templates look for
    variables = {"ansible_managed": "", "kit_port": PORT, "firewall_peers": [lab.address(1), lab.address(2)]}
    backend = "nftables" if lab.root(1, "nft list tables >/dev/null 2>&1 && echo works") else "iptables"
    script = environment.get_template(f"{backend}.sh.j2").render(variables)
    for board in (1, 2):
        lab.write(board, SCRIPT, script.encode(), "755")
        assert int(lab.root(board, f"{SCRIPT} load && {SCRIPT} show | grep -c {PORT}")) > 0
    yield
    for board in (1, 2):
        lab.root(board, f"{SCRIPT} clear; rm {SCRIPT}; pkill -f 'http.server {OPEN}'; rm -rf {RUNS}/*")


def addresses(lab: Lab, board: int) -> list[str]:
    """A board's addresses as the stranger calls them, IPv6 included where the machine has it."""
    shown = lab.root(board, "ip -oneline address show dev eth0")
    found = [lab.address(board), *(f"{address}%eth0" for address in re.findall(r"inet6 (fe80:[0-9a-f:]+)/", shown))]
    assert len(found) > 1 or not Path("/proc/net/if_inet6").exists(), shown
    return found


def listening(lab: Lab, board: int) -> set[int]:
    """The ports at which the board's processes listen on more than loopback, without ssh and the open one."""
    ends = [line.split()[4] for line in lab.root(board, "ss -Hltun").splitlines()]
    return {int(end.rpartition(":")[2]) for end in ends if not end.startswith(("127.", "[::1]"))} - {22, OPEN}


def received(lab: Lab, board: int) -> int:
    """The datagrams that reached one of the board's sockets, kept or not."""
    header, values = re.findall(r"^Udp: (.*)$", lab.root(board, "cat /proc/net/snmp"), re.MULTILINE)
    counts = dict(zip(header.split(), map(int, values.split()), strict=True))
    return counts["InDatagrams"] + counts["RcvbufErrors"]


@pytest.mark.usefixtures("guarded")
def test_nothing_answers_a_stranger_and_forged_addresses_change_nothing(
    lab: Lab, stranger: list[str], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    run = Run(lab, runs, LONG, train_environment=slowly(lab))
    try:
        run.wait_for_epochs()
        for board in (1, 2):
            serve = f"setsid -f python3 -m http.server --bind :: {OPEN} >/dev/null 2>&1 </dev/null"
            lab.root(board, f"{serve}; for i in $(seq 50); do ss -Hltn | grep -q :{OPEN} && break; sleep .1; done")
            ports = listening(lab, board) | {PORT, PORT + 1}
            assert listening(lab, board) >= {PORT, PORT + 1}, "the run listens"
            probe = json.dumps([addresses(lab, board), sorted(ports | {OPEN})])
            done = subprocess.run([*stranger, PROBE, probe], capture_output=True, text=True, check=True, timeout=120)
            answered = [tuple(each) for each in json.loads(done.stdout)]
            assert answered == [(address, OPEN, "SOCK_STREAM") for address in addresses(lab, board)]

        before = [received(lab, board) for board in (1, 2)]
        for board, other in ((1, 2), (2, 1)):
            forged = [lab.address(board), lab.address(other), str(PORT + 1), run.folder.name]
            subprocess.run([*stranger, FORGE, *forged], check=True, timeout=120)
        arrived = [received(lab, board) - count for board, count in zip((1, 2), before, strict=True)]
        assert min(arrived) > 5000, "the firewall lets what has a board's address pass"
        run.wait_for_epochs()  # it goes on
        assert run.end() == 0, run.output
        manifest = run.manifest
        assert manifest["status"] == "succeeded" and manifest["cause_kind"] is None
    finally:
        run.kill()
        playbook(lab, "stop")
    # the key of the heartbeats was in the boards' memory alone
    assert not [path for path in run.folder.rglob("*") if path.name == "peers.key"]
