"""The roles power, clock, network and firewall on dressed boards, and playbooks/restore.yml after them."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from conftest import PROJECT, Lab, require_root

TAGS = "power,clock,network,firewall"
BOARDS = ("board-1", "board-2")
PORT = 12345
STORED = "/var/lib/cluster-kit/jetson_clocks.conf"
ROLES = ("run_config", "firewall")
# What was written on a board since the mark, but for what comes and goes with each connection, and apt's cache.
MARK = "touch /run/mark"
WRITTEN = (
    "find /etc /opt /usr /var -xdev \\( -path /var/log -o -path /var/cache/apt -o -name __pycache__ \\) -prune"
    " -o -newer /run/mark -print"
)
SERVE = "setsid -f python3 -m http.server {port} >/dev/null 2>&1 </dev/null"
WAIT = "for i in $(seq 50); do timeout 1 bash -c '</dev/tcp/127.0.0.1/{port}' 2>/dev/null && break; sleep .1; done"


def load(path: str) -> ModuleType:
    """Imports a module or plugin of Ansible's from its file."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


class TestParsing:
    power = load("roles/power/library/jetson_power.py")
    conf = (
        "# < POWER_MODEL ID=9 NAME=OFF >\n< POWER_MODEL ID=0 NAME=MAXN >\nX Y 1\n< POWER_MODEL ID=3 NAME=MODE_40W >\n"
    )

    def test_modes_are_the_boards_own(self) -> None:
        assert self.power.parse_modes(self.conf) == {0: "MAXN", 3: "MODE_40W"}

    @pytest.mark.parametrize(("wanted", "number"), [("MAXN", 0), ("maxn", 0), ("3", 3), ("MODE_40W", 3)])
    def test_a_mode_has_a_name_and_an_id(self, wanted: str, number: int) -> None:
        assert self.power.find_mode(self.power.parse_modes(self.conf), wanted) == number

    def test_an_unknown_mode_is_told_with_those_there_are(self) -> None:
        with pytest.raises(ValueError, match=r"power_mode=MODE_50W .* give one of MAXN \(0\), MODE_40W \(3\)"):
            self.power.find_mode(self.power.parse_modes(self.conf), "MODE_50W")

    def test_query(self) -> None:
        assert self.power.parse_mode("NVPM VERB: x\nNV Power Mode: MODE_30W\n2\n") == 2
        with pytest.raises(ValueError, match="no power mode"):
            self.power.parse_mode("NVPM ERROR: no such file\n")

    @pytest.mark.parametrize(
        ("cpu", "gpu", "override", "pinned"),
        [
            (2201600, 1300500000, 1, True),
            (729600, 1300500000, 1, False),
            (2201600, 306000000, 1, False),
            (2201600, 1300500000, 0, False),
        ],
    )
    def test_clocks_are_pinned_when_all_of_them_are(self, cpu: int, gpu: int, override: int, pinned: bool) -> None:
        shown = (
            "SOC family:tegra234  Machine:Jetson AGX Orin\nOnline CPUs: 0-3\n"
            f"cpu0:  Online=1 Governor=schedutil MinFreq={cpu} MaxFreq=2201600 CurrentFreq=2201600\n"
            "cpu8:  Online=0 Governor=schedutil MinFreq=729600 MaxFreq=2201600 CurrentFreq=729600\n"
            f"GPU MinFreq={gpu} MaxFreq=1300500000 CurrentFreq=1300500000\n"
            f"EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride={override}\n"
            "DLA0_CORE:   Online=1 MinFreq=0 MaxFreq=1600000000 CurrentFreq=1600000000\n"
        )
        assert self.power.clocks_pinned(shown) is pinned

    def test_the_fastest_round_counts(self) -> None:
        clock = load("plugins/action/clock_offset.py")
        found = clock.summary([clock.Round(100.0, 102.5, 100.4), clock.Round(200.0, 202.51, 200.02)])
        assert found["offset_s"] == pytest.approx(2.5)
        assert found["uncertainty_s"] == pytest.approx(0.01)

    def test_the_firewalls_port_is_the_trainers(self) -> None:
        defaults = {role: yaml.safe_load((PROJECT / f"roles/{role}/defaults/main.yml").read_text()) for role in ROLES}
        assert f"default({defaults['run_config']['run_config_port']})" in defaults["firewall"]["firewall_port"]
        assert defaults["run_config"]["run_config_port"] == PORT


@dataclass(frozen=True)
class Played:
    ok: bool
    changed: dict[str, int]  # board -> number of changed tasks
    output: str


class Boards:
    """Two dressed boards, and what is done to them."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def play(self, playbook: str, *arguments: str, **variables: object) -> Played:
        done = self.lab.ansible("ansible-playbook", playbook, *arguments, "-e", json.dumps(variables))
        recap = re.findall(r"^(board-\d) .* changed=(\d+) ", done.output, re.MULTILINE)
        return Played(done.ok, {board: int(number) for board, number in recap}, done.output)

    def provision(self, tags: str = TAGS, *arguments: str, **variables: object) -> Played:
        return self.play("playbooks/provision.yml", "--tags", tags, *arguments, **variables)

    def provisioned(self, tags: str = TAGS, *arguments: str, **variables: object) -> Played:
        played = self.provision(tags, *arguments, **variables)
        assert played.ok, played.output
        return played

    def restored(self, *arguments: str, **variables: object) -> Played:
        played = self.play("playbooks/restore.yml", *arguments, **variables)
        assert played.ok, played.output
        return played

    def root(self, board: int, script: str) -> str:
        return self.lab.ssh(board, script, user="root")

    def mode(self, board: int) -> str:
        return self.root(board, "nvpmodel -q").split("\n")[0].removeprefix("NV Power Mode: ")

    def boot(self, board: int) -> str:
        return self.root(board, "cat /proc/sys/kernel/random/boot_id")

    def state(self, board: int) -> dict[str, str]:
        """What provisioning changes on a board, and restoring gives back."""
        commands = {
            "mode": "nvpmodel -q",
            "clocks": "jetson_clocks --show | sed 's/CurrentFreq=[0-9]*//'",
            "rules": "nft list ruleset",
            "files": "ls -d /etc/nftables.d/* /var/lib/cluster-kit/*.json /etc/chrony/* /usr/sbin/chronyd "
            "/etc/systemd/system/cluster-kit* 2>/dev/null",
            "services": "systemctl is-enabled chrony systemd-timesyncd cluster-kit-firewall cluster-kit-clocks 2>&1",
            "running": "systemctl is-active chrony systemd-timesyncd cluster-kit-firewall 2>&1",
            "mtu": "cat /sys/class/net/eth0/mtu",
            "sources": "cat /etc/apt/sources.list.d/*",
        }
        return {name: self.root(board, command) for name, command in commands.items()}

    def serve(self, board: int, port: int) -> None:
        """Lets something answer at a port of the board, as TensorFlow's server would."""
        self.lab.ssh(board, f"{SERVE.format(port=port)}; {WAIT.format(port=port)}")

    def reaches(self, board: int, other: int, port: int = PORT) -> bool:
        """Tells whether something answers at the other board's port."""
        connect = f"timeout 2 bash -c '</dev/tcp/{self.lab.address(other)}/{port}' 2>/dev/null && echo reached"
        return self.lab.ssh(board, connect) == "reached"

    def answers(self, board: int, port: int = PORT) -> bool:
        """Tells whether the board's port answers this machine, which is no board."""
        try:
            socket.create_connection((self.lab.address(board), port), timeout=1.5).close()
        except TimeoutError:
            return False
        return True


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, python_env: Path) -> Iterator[Lab]:
    require_root()
    lab = Lab(tmp_path_factory.mktemp("state_lab"), 40, 2, python_env)
    try:
        started = lab.up(lab_dress="orin")
        assert started.ok, started.output
        yield lab
    finally:
        ended = lab.down()
    assert ended.ok, ended.output


@pytest.fixture(scope="module")
def fresh(lab: Lab) -> dict[str, str]:
    """A board as it is before anything is done to it."""
    return Boards(lab).state(1)


@pytest.fixture
def boards(lab: Lab, fresh: dict[str, str]) -> Boards:
    return Boards(lab)


@pytest.mark.lab
class TestFromFreshToRestored:
    """In this order: a fresh board, provisioned, provisioned again, disturbed, restored."""

    def test_check_mode_changes_nothing(self, boards: Boards, fresh: dict[str, str]) -> None:
        boards.root(1, MARK)
        boards.provisioned(TAGS, "--check", "--diff")
        assert boards.state(1) == fresh
        assert boards.root(1, WRITTEN) == ""

    def test_mode_clocks_and_rules_are_set(self, boards: Boards) -> None:
        """With a reboot, since the modes have different GPU masks."""
        boots = boards.boot(1)
        played = boards.provisioned()
        assert boards.mode(1) == boards.mode(2) == "MAXN"
        assert boards.boot(1) != boots
        assert TestParsing.power.clocks_pinned(boards.root(1, "jetson_clocks --show"))
        assert f"tcp dport {PORT} jump" in boards.root(1, "nft list table inet cluster_kit")
        assert "board-1: clock " in played.output

    def test_a_second_run_changes_nothing(self, boards: Boards) -> None:
        boots, stored = boards.boot(1), boards.root(1, f"cat {STORED}")
        assert boards.provisioned().changed == dict.fromkeys(BOARDS, 0)
        assert boards.boot(1) == boots
        assert boards.root(1, f"cat {STORED}") == stored

    def test_a_mode_change_without_a_reboot(self, boards: Boards) -> None:
        boots, stored = boards.boot(1), boards.root(1, f"cat {STORED}")
        boards.provisioned("power", power_mode="3")
        assert boards.mode(1) == "MODE_50W"
        assert boards.boot(1) == boots
        assert boards.root(1, f"cat {STORED}") == stored  # still of the board as it was when it was fresh

    def test_an_unknown_mode_is_refused(self, boards: Boards) -> None:
        played = boards.provision("power", power_mode="MODE_40W")
        assert not played.ok
        assert "power_mode=MODE_40W is not one of this board's modes" in played.output
        assert "MAXN (0), MODE_15W (1), MODE_30W (2), MODE_50W (3)" in played.output
        assert boards.mode(1) == "MODE_50W"

    def test_only_boards_reach_the_port(self, boards: Boards) -> None:
        boards.serve(2, PORT)
        boards.serve(2, PORT + 1)
        assert boards.reaches(1, 2)
        assert boards.reaches(2, 2)  # over its own address
        assert not boards.answers(2)
        assert boards.answers(2, PORT + 1)  # nothing else is touched

    def test_the_rules_come_back_after_a_flush(self, boards: Boards) -> None:
        boards.root(2, "nft add table inet others; nft delete table inet cluster_kit")
        assert boards.answers(2)
        assert boards.provisioned("firewall").changed == {"board-1": 0, "board-2": 1}
        assert not boards.answers(2)
        assert boards.root(2, "nft list tables | grep -c others") == "1"
        boards.root(2, "nft delete table inet others; nft insert rule inet cluster_kit input accept")
        assert boards.provisioned("firewall").changed == {"board-1": 0, "board-2": 1}
        assert not boards.answers(2)

    def test_rules_and_clocks_survive_a_reboot(self, boards: Boards) -> None:
        boots = boards.boot(2)
        done = boards.lab.ansible("ansible", "board-2", "--become", "-m", "ansible.builtin.reboot")
        assert done.ok, done.output
        assert boards.boot(2) != boots
        boards.serve(2, PORT)
        assert boards.reaches(1, 2)
        assert not boards.answers(2)
        assert TestParsing.power.clocks_pinned(boards.root(2, "jetson_clocks --show"))

    def test_restore_gives_back_what_was_before(self, boards: Boards, fresh: dict[str, str]) -> None:
        provisioned = boards.state(1)
        played = boards.restored("--check", "--diff")
        assert boards.state(1) == provisioned != fresh
        assert played.changed["board-1"] > 0
        boards.root(2, "mkdir /opt/purged && touch /opt/purged/file")
        boards.restored(purge=True, restore_purge_paths=["/opt/purged"])
        assert boards.state(1) == boards.state(2) == fresh
        assert boards.root(2, "ls /opt/purged 2>/dev/null") == ""
        assert boards.restored().changed == dict.fromkeys(BOARDS, 0)


@pytest.mark.lab
class TestClock:
    def measured(self, boards: Boards) -> dict[str, float]:
        played = boards.provisioned("clock", "--limit", "board-1")
        recorded = json.loads(boards.lab.ssh(1, "cat /opt/cluster-kit/clock.json"))
        assert "board-1: clock " in played.output
        return recorded

    def test_one_kernel_has_one_clock(self, boards: Boards) -> None:
        clock = self.measured(boards)
        assert abs(clock["offset_s"]) <= clock["uncertainty_s"] < 0.1
        assert clock["rounds"] == 8

    def test_a_shifted_clock_is_found(self, boards: Boards) -> None:
        """The board's `date`, which is what is asked, goes 2.5 s ahead."""
        shifted = "#!/bin/sh\\nexec /usr/bin/python3 -c 'import time; print(time.time() + 2.5)'\\n"
        boards.root(1, f'printf "{shifted}" >/usr/local/bin/date && chmod 755 /usr/local/bin/date')
        try:
            clock = self.measured(boards)
        finally:
            boards.root(1, "rm /usr/local/bin/date")
        assert clock["offset_s"] == pytest.approx(2.5, abs=0.1)
        assert abs(clock["offset_s"] - 2.5) <= clock["uncertainty_s"]

    def test_servers_are_named_and_taken_back(self, boards: Boards) -> None:
        only = ("clock", "--limit", "board-1")
        boards.provisioned(*only, clock_servers=["192.0.2.1"], clock_controller=True)
        here = boards.lab.settings["lab_address"].split("/")[0]
        servers = boards.root(1, "grep ^server /etc/chrony/cluster-kit.conf")
        assert servers == f"server {here} iburst prefer\nserver 192.0.2.1 iburst prefer"
        assert "include /etc/chrony/cluster-kit.conf" in boards.root(1, "cat /etc/chrony/chrony.conf")
        again = boards.provisioned(*only, clock_servers=["192.0.2.1"], clock_controller=True)
        assert again.changed == {"board-1": 0}


# A stand-in for NetworkManager's, with the few words that the role needs; it keeps the MTU for later in a file.
NMCLI = """\
#!/bin/sh
case "$*" in
  *"GENERAL.CON-UUID device show eth0") echo 7d0c-uuid ;;
  *"802-3-ethernet.mtu connection show uuid 7d0c-uuid") cat /root/mtu 2>/dev/null || echo auto ;;
  "connection modify uuid 7d0c-uuid 802-3-ethernet.mtu 0") rm -f /root/mtu ;;
  "connection modify uuid 7d0c-uuid 802-3-ethernet.mtu "*) echo "$6" >/root/mtu ;;
  *) echo "Error: $*" >&2; exit 2 ;;
esac
"""


@pytest.mark.lab
class TestNetwork:
    def refused(self, boards: Boards, *says: str, **variables: object) -> None:
        played = boards.provision("network", "--limit", "board-1", **variables)
        assert not played.ok
        for words in says:
            assert words in " ".join(played.output.split()), played.output

    def test_the_link_is_recorded(self, boards: Boards) -> None:
        boards.provisioned("network", "--limit", "board-1")
        link = json.loads(boards.lab.ssh(1, "cat /opt/cluster-kit/network.json"))
        assert (link["interface"], link["wired"], link["mtu"]) == ("eth0", True, 1500)

    def test_an_address_that_no_interface_has(self, boards: Boards) -> None:
        self.refused(
            boards, "192.0.2.7 is on no interface of this board", "training_address", training_address="192.0.2.7"
        )

    def test_an_address_on_the_wireless_interface(self, boards: Boards) -> None:
        wireless = boards.root(1, "ip -o -4 address show wlan0 | awk '{ print $4 }'").split("/")[0]
        self.refused(boards, "is on wlan0, which is wireless", "connect the board", training_address=wireless)

    def test_a_link_that_is_slower_than_wanted(self, boards: Boards) -> None:
        boards.root(1, "mkdir /sys/class/net/eth0/device")  # a virtual interface's speed counts for nothing
        try:
            self.refused(boards, "eth0 has 1000 Mbit/s", "network_speed_mbit=10000", network_speed_mbit=10000)
            boards.provisioned("network", "--limit", "board-1", network_speed_mbit=1000)
        finally:
            boards.root(1, "rmdir /sys/class/net/eth0/device")

    def test_an_unknown_speed_is_only_warned_of(self, boards: Boards) -> None:
        played = boards.provisioned("network", "--limit", "board-1", network_speed_mbit=10000)
        assert "does not know its link's speed" in played.output

    def test_an_mtu_needs_networkmanager(self, boards: Boards) -> None:
        self.refused(boards, "NetworkManager (nmcli)", "leave network_mtu empty", network_mtu=1400)

    def test_an_mtu_is_set_and_given_back(self, boards: Boards) -> None:
        boards.root(1, f"cat >/usr/local/bin/nmcli <<'END'\n{NMCLI}END\nchmod 755 /usr/local/bin/nmcli")
        only = ("network", "--limit", "board-1")
        try:
            boards.provisioned(*only, network_mtu=1400)
            assert boards.root(1, "cat /sys/class/net/eth0/mtu /root/mtu") == "1400\n1400"
            assert boards.provisioned(*only, network_mtu=1400).changed == {"board-1": 0}
            boards.provisioned(*only, network_mtu=1300)
            boards.restored("--limit", "board-1")  # not to 1400
            assert boards.root(1, "cat /sys/class/net/eth0/mtu; ls /root/mtu 2>/dev/null") == "1500"
        finally:
            boards.root(1, "rm -f /usr/local/bin/nmcli /root/mtu")
