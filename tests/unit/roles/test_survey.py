"""What a board says of itself."""

import json
import sys

import pytest

from tests import PROJECT
from tests.unit.controller.gates.facts import ORIN, R35
from tests.unit.unreadable import answer_with_eagain
from trainer.contract import frequencies, packages
from trainer.supervise import facts

CONFIG = """\
< PARAM TYPE=FILE NAME=TPC_POWER_GATING >
TPC_PG_MASK {mask}
< PARAM TYPE=FILE NAME=GPU_POWER_CONTROL_ENABLE >
GPU_PWR_CNTL_EN /sys/devices/gpu.0/power/control

< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
TPC_POWER_GATING TPC_PG_MASK 0
GPU MAX_FREQ -1

< POWER_MODEL ID=2 NAME=MODE_30W >
TPC_POWER_GATING TPC_PG_MASK 248
"""


@pytest.fixture
def board(tmp_path, monkeypatch):
    """The files of a board; changes to them are what tests are about."""
    commands = {
        ("nvpmodel", "-q"): "NV Power Mode: MODE_30W\n2\n",
        ("ip", "-4", "-force", "-batch", "-"): (
            "local 10.0.0.9 dev lo src 10.0.0.9 uid 0\n    cache <local>\n"
            "10.0.0.2 via 10.0.0.254 dev wlan0 src 10.0.0.9 uid 0\n    cache\n"
        ),
    }
    monkeypatch.setattr(facts, "_output", lambda *command, **_: commands.get(command))
    local = [("lo", "127.0.0.1"), ("eth0", "192.168.1.11"), ("eth0", "10.0.0.1"), ("tun0", "10.8.0.1")]
    monkeypatch.setattr(facts.interface, "addresses", lambda: local)
    write(tmp_path / "etc/nv_tegra_release", R35 + "\n# KERNEL_VARIANT: oot\n")
    write(tmp_path / "sys/firmware/devicetree/base/compatible", f"{ORIN}\0nvidia,tegra234\0")
    write(tmp_path / "etc/nvpmodel.conf", CONFIG.format(mask=tmp_path / "tpc_pg_mask"))
    write(tmp_path / "proc/meminfo", "MemAvailable: 1000 kB\nSwapTotal: 500 kB\nSwapFree: 100 kB\n")
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "45500")
    write(tmp_path / "sys/class/thermal/thermal_zone1/temp", "-256000")
    write(tmp_path / "sys/class/thermal/cooling_device0/type", "pwm-fan")
    write(tmp_path / "sys/class/thermal/cooling_device0/cur_state", "2")
    write(tmp_path / "sys/class/thermal/cooling_device1/type", "gpu-throttle-alert")
    write(tmp_path / "sys/class/thermal/cooling_device1/cur_state", "1")
    write(tmp_path / "proc/41/cmdline", "/opt/venv/bin/python\0-m\0trainer.supervise.supervisor\0--config\0run.json\0")
    write(tmp_path / "proc/42/cmdline", "vim\0-m\0trainer\0")
    write(tmp_path / "proc/43/cmdline", "python3\0-m\0trainer_of_dogs\0")
    heading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    row = "   0: {}:{} 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 {} 1 0\n"
    write(tmp_path / "proc/net/tcp", heading + row.format("0" * 8, "3039", "01", 7))
    write(tmp_path / "proc/net/tcp6", heading + row.format("0" * 32, "3039", "0A", 77))
    (tmp_path / "proc/41/fd").mkdir()
    (tmp_path / "proc/41/fd/5").symlink_to("socket:[77]")
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def ask(board, **changes):
    asked = {"address": "10.0.0.1", "peers": {"b": "10.0.0.2"}, "port": 12345, "python": "python", "home": str(board)}
    return facts.survey({**asked, "sent_s": 1.0, **changes}, board)


def test_a_board_says_what_it_is(board):
    said = ask(board)
    assert said["release"].splitlines()[0] == R35
    assert said["module"] == ORIN
    assert (said["memory_available_bytes"], said["swap_used_bytes"]) == (1_024_000, 409_600)
    assert (said["power_mode"], said["power_mode_id"]) == ("MODE_30W", "2")
    assert (said["temperature_c"], said["throttles"]) == (45.5, ["gpu-throttle-alert"])
    assert said["routes"] == {"b": {"dev": "wlan0", "wireless": True}}
    assert [trainer["pid"] for trainer in said["trainers"]] == [41]
    assert said["port"] == {
        "free": False,
        "pid": 41,
        "command": "/opt/venv/bin/python -m trainer.supervise.supervisor --config run.json",
    }
    assert ask(board, port=12346)["port"]["free"]
    assert json.loads(json.dumps(said)) == said


def test_a_board_says_on_which_interface_its_own_address_is(board):
    write(board / "sys/class/net/eth0/mtu", "1466\n")
    said = ask(board, peers={})
    assert said["addresses"] == {"lo": ["127.0.0.1"], "eth0": ["192.168.1.11", "10.0.0.1"], "tun0": ["10.8.0.1"]}
    assert said["own_address"] == {"given": "10.0.0.1", "address": "10.0.0.1"}
    assert (said["link"]["dev"], said["link"]["mtu_bytes"]) == ("eth0", 1466)
    assert ask(board, peers={}, address="10.8.0.2")["link"] is None  # the other end's
    named = ask(board, peers={}, address="no.such.host.invalid")
    assert named["own_address"] == {"given": "no.such.host.invalid", "address": None} and named["link"] is None


def test_a_board_says_where_the_kits_folder_is(board):
    home = board / "mnt of all/kit"
    write(
        board / "proc/self/mountinfo",
        "22 1 179:1 / / rw,relatime - ext4 /dev/mmcblk0p1 rw\n"
        f"40 22 0:51 /boards {board}/mnt\\040of\\040all rw shared:3 - nfs4 nas:/export rw,vers=4.2\n"
        f"41 22 0:52 / {board}/mnt rw - tmpfs tmpfs rw\n",
    )
    (board / "mnt of all").mkdir()
    said = ask(board, home=str(home))["home"]
    assert (said["kind"], said["source"], said["inside"]) == ("nfs4", "nas:/export", "/boards/kit")
    assert (said["path"], said["missing"], said["inode"]) == (str(home), "kit", (board / "mnt of all").stat().st_ino)
    home.mkdir()
    (board / "link").symlink_to(home)
    linked = ask(board, home=str(board / "link"))["home"]
    assert (linked["missing"], linked["inside"], linked["inode"]) == ("", "/boards/kit", home.stat().st_ino)
    assert list(home.iterdir()) == []
    elsewhere = ask(board)["home"]
    assert (elsewhere["kind"], elsewhere["inside"]) == ("ext4", str(board))


def test_a_board_says_what_frequencies_its_clocks_may_have(board):
    assert ask(board)["frequencies_hz"] is None
    policies, devices = board / "sys/devices/system/cpu/cpufreq", board / "sys/class/devfreq"
    for policy, cpus, least in (("policy0", "0 1 2 3", 2_201_600), ("policy4", "4 5", 729_600), ("policy8", "", 1)):
        write(policies / policy / "affected_cpus", f"{cpus}\n")
        write(policies / policy / "scaling_min_freq", f"{least}\n")
        write(policies / policy / "scaling_max_freq", "2201600\n")
    for device in ("17000000.ga10b", "15340000.vic"):
        write(devices / device / "min_freq", "306000000\n")
        write(devices / device / "max_freq", "1300500000\n")
    found = {
        "policy0": [2_201_600_000] * 2,
        "policy4": [729_600_000, 2_201_600_000],
        "17000000.ga10b": [306_000_000, 1_300_500_000],
    }
    assert ask(board)["frequencies_hz"] == found == frequencies.frequencies(board / "sys"), "one in both"
    (devices / "17000000.ga10b/max_freq").unlink()
    assert list(ask(board)["frequencies_hz"]) == ["policy0", "policy4"]


def test_routes_of_all_boards_are_asked_for_at_once(board):
    peers = {"b": "10.0.0.2", "itself": "10.0.0.9", "far": "10.9.9.9", "nameless": "no.such.host.invalid"}
    routes = ask(board, peers=peers)["routes"]
    assert {name: route and route["dev"] for name, route in routes.items()} == {
        "b": "wlan0",
        "itself": "lo",
        "far": None,
        "nameless": None,
    }


def test_what_a_boards_environment_has_is_told_by_its_own_python():
    said = facts._venv(sys.executable)
    assert said["tensorflow"] is None and said["packages"]["pyyaml"] == packages.installed()["pyyaml"]
    assert facts._venv("/nowhere/python") is None


def test_the_gpus_mask_is_the_live_one_else_the_modes(board):
    assert ask(board)["gpu_mask"] == {"TPC_PG_MASK": "248"}
    write(board / "tpc_pg_mask", "0\n")
    assert ask(board)["gpu_mask"] == {"TPC_PG_MASK": "0"}


def test_a_sensor_that_cannot_be_read_or_is_no_heat_leaves_the_others(board, monkeypatch):
    zones = board / "sys/class/thermal"
    write(zones / "thermal_zone2/type", "PMIC-Die\n")
    write(zones / "thermal_zone2/temp", "100000\n")
    write(zones / "thermal_zone3/temp", "")
    answer_with_eagain(monkeypatch, zones / "thermal_zone3/temp")
    (zones / "thermal_zone4").mkdir()
    (zones / "thermal_zone4/temp").symlink_to("/proc/self/mem")  # whose first byte cannot be read: EIO
    assert ask(board)["temperature_c"] == 45.5
    write(zones / "thermal_zone2/temp", "120000\n")  # the PMIC's first alarm
    assert ask(board)["temperature_c"] == 120.0


def test_a_board_whose_sensors_are_all_off_has_no_temperature(board):
    write(board / "sys/class/thermal/thermal_zone0/temp", "-256000\n")
    assert ask(board)["temperature_c"] is None


def test_what_a_board_cannot_tell_is_null(tmp_path, monkeypatch):
    def unknown():
        raise OSError

    monkeypatch.setattr(facts, "_output", lambda *command, **_: None)
    monkeypatch.setattr(facts.interface, "addresses", unknown)
    said = ask(tmp_path)
    for name in (
        "release",
        "module",
        "emulated",
        "venv",
        "power_mode",
        "gpu_mask",
        "temperature_c",
        "link",
        "nccl",
        "addresses",
    ):
        assert said[name] is None, name
    assert said["routes"] == {"b": None}


IPTABLES = """\
1:-A INPUT -p udp -m udp --dport 12346 -j CLUSTER_KIT
2:-A INPUT -p tcp -m tcp --dport 12345 -j CLUSTER_KIT
-N CLUSTER_KIT
-A CLUSTER_KIT -s 10.0.0.2/32 -j RETURN
-A CLUSTER_KIT -j DROP
"""
NFTABLES = """\
table inet cluster_kit {
\tchain input {
\t\ttype filter hook input priority filter; policy accept;
\t\ttcp dport 12345 jump tensorflow
\t\tudp dport 12346 jump tensorflow
\t}
\tchain tensorflow {
\t\tip saddr 10.0.0.2 accept
\t\tdrop
\t}
}
"""


@pytest.mark.parametrize(
    ("shown", "unit", "found"),
    [
        (f"{IPTABLES}code 0\n", "active\n", {"ports": [12345, 12346], "unit": "active"}),
        (f"{NFTABLES}code 0\n", "active\n", {"ports": [12345, 12346], "unit": "active"}),
        ("code 1\n", "active\n", {"ports": [], "unit": "active"}),  # flushed since
        (f"{IPTABLES}code 1\n", "active\n", {"ports": [], "unit": "active"}),  # of IPv4 alone
        (f"{IPTABLES.replace('DROP', 'RETURN')}code 0\n", "active\n", {"ports": [], "unit": "active"}),
        (None, "active\n", {"ports": None, "unit": "active"}),  # sudo wants a password
        (None, "inactive\n", {"ports": None, "unit": "inactive"}),
        (None, None, {"ports": None, "unit": None}),
    ],
)
def test_the_firewall_counts_as_the_kernel_shows_it(board, monkeypatch, shown, unit, found):
    answers = {"sudo": shown, "systemctl": unit}
    monkeypatch.setattr(facts, "_output", lambda *command, **_: answers.get(command[0]))
    assert ask(board)["firewall"] == {"ports": [], "unit": None}  # there is no script
    write(board / facts.FIREWALL, "#!/bin/sh\n")
    assert ask(board)["firewall"] == found


def test_the_survey_looks_for_what_the_role_firewall_installs():
    role = PROJECT / "roles/firewall"
    assert f"__firewall_script: /{facts.FIREWALL} " in (role / "vars/main.yml").read_text()
    assert f"name: {facts.FIREWALL_UNIT}\n" in (role / "tasks/main.yml").read_text()
