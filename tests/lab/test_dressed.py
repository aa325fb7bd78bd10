"""Boards dressed as Orins: that the stand-ins do, and refuse, what the real tools do."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import paramiko
import pytest
from conftest import PASSWORD, Lab, require_root
from test_lab import in_namespaces, machine

from plugins.module_utils import lab_link, lab_machine, lab_settings

if TYPE_CHECKING:
    from conftest import Outcome

pytestmark = pytest.mark.lab

CYCLE = "ip link set eth0 down; ip link set dev eth0 mtu 1400; ip link set eth0 up"
RULES = "iptables-legacy -S | grep -v ^-P | sort"
BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
UNIT = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/iptables-legacy -N example
ExecStop=/usr/sbin/iptables-legacy -X example
[Install]
WantedBy=multi-user.target
"""


def play(lab: Lab, board: int, module: str, **options: object) -> Outcome:
    """Runs a module as root, as a role does it: become, over ssh."""
    return lab.ansible("ansible", f"board-{board}", "-b", "-m", f"ansible.builtin.{module}", "-a", json.dumps(options))


def changed(outcome: Outcome) -> bool:
    assert outcome.ok, outcome.output
    return "changed: true" in outcome.output


def rebooted(lab: Lab, board: int, before: str) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        now = lab.ssh(board, BOOT_ID)
        if re.fullmatch(r"[0-9a-f-]{36}", now) and now != before:
            return True
        time.sleep(0.2)
    return False


class TestLook:
    def test_second_run_changes_nothing(self, orins: Lab) -> None:
        outcome = orins.up(lab_dress="orin", lab_password=PASSWORD)
        assert outcome.ok and outcome.changed == 0, outcome.output

    def test_they_look_like_new_devkits(self, orins: Lab) -> None:
        assert re.match(r"# R35 \(release\), REVISION: 3\.1, GCID: ", orins.ssh(1, "cat /etc/nv_tegra_release"))
        compatible = orins.ssh(1, "cat /sys/firmware/devicetree/base/compatible").split("\0")
        assert compatible == ["nvidia,p3737-0000+p3701-0000", "nvidia,tegra234", "nvidia,tegra23x", ""]
        assert orins.ssh(1, "dpkg-query -W nvidia-l4t-core").split("\t") == [
            "nvidia-l4t-core",
            "35.3.1-20230319081403",
        ]
        assert orins.ssh(1, "ls -d /usr/local/cuda* /etc/apt/auth.conf.d 2>/dev/null") == ""
        assert json.loads(orins.ssh(1, "cat /etc/cluster-kit/emulated.json"))["emulated"] is True

    def test_they_have_a_wired_and_a_wireless_interface_and_networks_of_their_own(self, orins: Lab) -> None:
        shown = orins.ssh(1, "cd /sys/class/net; ls; ls -d */wireless; cat eth0/speed eth0/duplex wlan0/operstate")
        assert shown.split() == [*("docker0", "eth0", "l4tbr0", "lo", "wlan0", "wlan0/wireless", "1000", "full", "up")]
        assert "dev eth0" in orins.ssh(1, f"ip route get {orins.address(2)}")
        assert re.search(r"inet 10\.42\.0\.11/24 ", orins.ssh(1, "ip -4 address show dev wlan0"))
        for board in (1, 2):
            shown = orins.ssh(board, "ip -4 -oneline address; cat /sys/class/net/eth0/mtu")
            assert "l4tbr0    inet 192.168.55.1/24" in shown and "docker0    inet 172.17.0.1/16" in shown
            assert shown.endswith("\n1466")

    def test_facts_can_be_edited(self, orins: Lab) -> None:
        path = "/sys/firmware/devicetree/base/compatible"
        before = orins.ssh(2, f"cat {path}")
        orins.ssh(2, f"sed 's/-0000/-0004/2' {path} > /tmp/new; cat /tmp/new > {path}", user="root")
        assert "p3701-0004" in orins.ssh(2, f"cat {path}")
        orins.ssh(2, f"sed -i 's/-0004/-0000/' /tmp/new; cat /tmp/new > {path}", user="root")
        assert orins.ssh(2, f"cat {path}") == before

    def test_their_root_cannot_change_this_machine(self, orins: Lab) -> None:
        output = orins.ssh(1, "sudo date -s now; sudo mknod /tmp/disk b 254 0; sudo touch /sys/devices/new")
        assert output.count("not permitted") == 2 and output.count("Read-only") == 1, output

    def test_their_sessions_have_a_proxy_and_a_login_script_that_speaks(self, orins: Lab) -> None:
        proxy = "http_proxy=http://192.0.2.9:3128"
        assert orins.ssh(1, "env | grep http_proxy; sudo env | grep http_proxy") == f"{proxy}\n{proxy}"
        said = subprocess.run([*orins.ssh_command(1), "pwd"], capture_output=True, text=True)
        assert said.stdout == "ROS noetic sourced\n\033]0;board-1\007/tmp\n"
        assert "Inappropriate ioctl for device" in said.stderr

    def test_their_clock_is_years_off_until_it_is_set(self, orins: Lab) -> None:
        year = "date +%Y; sudo date +%Y; python3 -c 'import time; print(time.localtime().tm_year)'"
        before = orins.ssh(2, "cat /etc/faketimerc /etc/faketime.env")
        assert orins.ssh(2, year).split() == ["2019"] * 3
        try:
            orins.ssh(2, "sudo date --utc --set=@1600000000.123")
            assert orins.ssh(2, year).split() == ["2020"] * 3
            orins.ssh(2, f"sudo date --utc --set=@{time.time():.3f}")
            assert orins.ssh(2, year).split() == [time.strftime("%Y")] * 3
        finally:
            clock, env = before.splitlines()
            orins.root(2, f"echo '{clock}' >/etc/faketimerc; echo {env} >/etc/faketime.env")

    def test_their_kernel_filters_packets_with_iptables_alone(self, orins: Lab) -> None:
        assert "No such file" in orins.root(1, "ls /usr/sbin/nft; iptables-legacy -S")
        assert "-P INPUT ACCEPT" in orins.root(1, "iptables-legacy -S")

    def test_a_user_becomes_root_without_a_password(self, orins: Lab) -> None:
        assert orins.ssh(1, "sudo -n id --user") == "0"


class TestPowerMode:
    @pytest.fixture(autouse=True)
    def mode_30w(self, orins: Lab) -> Iterator[None]:
        assert orins.ssh(1, "sudo nvpmodel -q") == "NV Power Mode: MODE_30W\n2"
        yield
        before = orins.ssh(1, BOOT_ID)
        if "reboot" in orins.ssh(1, "echo YES | sudo nvpmodel -m 2").lower():
            assert rebooted(orins, 1, before)

    def test_it_takes_root_and_a_mode_that_exists(self, orins: Lab) -> None:
        assert "needs root" in orins.ssh(1, "/usr/sbin/nvpmodel -q || echo refused")
        output = orins.ssh(1, "sudo nvpmodel -m 9 || echo refused; sudo nvpmodel -m MODE_40W || echo refused")
        assert output.count("invalid power model") == 2 and output.count("refused") == 2

    def test_a_mode_with_another_gpu_mask_takes_a_reboot(self, orins: Lab) -> None:
        before = orins.ssh(1, BOOT_ID)
        for answer in ("no", "Yes", ""):
            output = orins.ssh(1, f"echo '{answer}' | sudo nvpmodel -m MAXN")
            assert "DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:" in output
        assert orins.ssh(1, "sudo nvpmodel -m MAXN </dev/null; sudo nvpmodel -q").endswith("MODE_30W\n2")
        assert orins.ssh(1, f"cat /sys/devices/gpu.0/tpc_pg_mask; {BOOT_ID}") == f"240\n{before}"

        now = orins.ssh(1, "echo YES | sudo nvpmodel -m MAXN; sudo nvpmodel -q")
        assert "NV Power Mode: MAXN" not in now  # until the boot, which may cut the answer off
        assert rebooted(orins, 1, before)
        assert orins.ssh(1, "sudo nvpmodel -q; cat /sys/devices/gpu.0/tpc_pg_mask") == "NV Power Mode: MAXN\n0\n0"

        before = orins.ssh(1, BOOT_ID)
        output = orins.ssh(1, "sudo nvpmodel -m 3; sudo nvpmodel -q")  # the same mask
        assert output == "NV Power Mode: MODE_50W\n3" and orins.ssh(1, BOOT_ID) == before


def test_clocks_are_pinned_stored_and_restored(orins: Lab) -> None:
    def script(line: str) -> str:
        return orins.ssh(2, f"sudo rm -f /tmp/clocks; {line}")

    assert "root user" in script("jetson_clocks --show || echo refused")
    assert "not found" in script("sudo jetson_clocks --restore /tmp/clocks || echo refused")
    before = script("sudo jetson_clocks --show")
    pinned = script("sudo jetson_clocks --store /tmp/clocks; sudo jetson_clocks; sudo jetson_clocks --show")
    assert re.search(r"cpu0: Online=1 .* MinFreq=(\d+) MaxFreq=\1 CurrentFreq=\1 ", pinned)
    assert re.search(r"GPU MinFreq=(\d+) MaxFreq=\1 CurrentFreq=\1", pinned) and "FreqOverride=1" in pinned
    assert pinned != before
    again = orins.ssh(2, "echo n | sudo jetson_clocks --store /tmp/clocks || echo refused")
    assert "already exists. Can I overwrite it? Y/N:" in again and again.endswith("refused")
    assert orins.ssh(2, "sudo jetson_clocks --restore /tmp/clocks; sudo jetson_clocks --show") == before


def test_whatever_applies_a_power_mode_resets_pinned_clocks(orins: Lab) -> None:
    clocks = "cat /sys/class/devfreq/17000000.ga10b/m??_freq /sys/devices/system/cpu/cpufreq/policy0/scaling_m??_freq"
    free = orins.ssh(2, clocks).split()
    assert len(set(free)) == 4
    for reset in ("nvpmodel -m 2", "systemctl restart nvpmodel", "systemctl isolate multi-user.target"):
        assert len(set(orins.ssh(2, f"sudo jetson_clocks; {clocks}").split())) == 2
        assert orins.ssh(2, f"sudo {reset}; {clocks}").split() == free
    assert orins.ssh(2, "systemctl is-active nvpmodel").splitlines()[0] == "inactive"  # it ran, and is over
    assert orins.ssh(2, "sudo rm /run/cluster-kit/emc.json") == ""


def test_jetson_clocks_does_not_tell_that_the_gpus_driver_is_missing(orins: Lab) -> None:
    gpu = "/sys/class/devfreq/17000000.ga10b"
    try:
        told = orins.root(
            2, f"cp -r {gpu} /run/gpu; rm -r {gpu}; jetson_clocks && echo ended with 0; jetson_clocks --show"
        )
    finally:
        orins.root(2, f"cp -r /run/gpu {gpu}; rm -r /run/gpu /run/cluster-kit/emc.json; systemctl restart nvpmodel")
    assert "ended with 0" in told and "GPU MinFreq" not in told


def test_sensors_of_parts_without_power_cannot_be_read(orins: Lab) -> None:
    found = orins.ssh(2, "cd /sys/class/thermal; head thermal_zone*/temp cooling_device*/type")
    assert "-256000" in found and "Input/output error" in found and "gpu-throttle-alert" in found
    assert (
        orins.ssh(2, "cat /sys/class/hwmon/hwmon3/name /sys/class/hwmon/hwmon3/oc*_event_cnt") == "soctherm_oc\n0\n0\n0"
    )


def test_sensors_are_printed_as_tegrastats_does(orins: Lab) -> None:
    command = "timeout 1 tegrastats --interval 200"
    lines = orins.ssh(2, command).splitlines()
    rail = r"(NC|V\w+) \d+mW/\d+mW"
    line = re.compile(
        r"\d\d-\d\d-\d{4} \d\d:\d\d:\d\d RAM \d+/\d+MB \(lfb \d+x4MB\) SWAP \d+/\d+MB \(cached 0MB\) "
        r"CPU \[(\d+%@729,){8}off,off,off,off\] EMC_FREQ 0%@204 GR3D_FREQ 0%@114 GR3D2_FREQ 0%@114 NVJPG1 729 "
        rf"VIC_FREQ 729 APE 233 CV0@-256C CPU@[\d.]+C (\w+@-?[\d.]+C )+{rail}( {rail}){{5}}"
    )
    assert len(lines) > 2 and all(line.fullmatch(text) for text in lines), lines
    assert len(set(lines)) == len(lines)
    path = "/var/lib/cluster-kit/temperature_c"
    orins.ssh(2, f"echo 97.5 > {path}", user="root")
    assert "CPU@97.5C" in orins.ssh(2, command)
    orins.ssh(2, f"rm {path}", user="root")


class TestServices:
    def test_a_unit_is_enabled_started_and_starts_again_at_boot(self, orins: Lab) -> None:
        orins.ssh(1, f"cat > /etc/systemd/system/example.service <<'END'\n{UNIT}END", user="root")
        orins.root(1, "iptables-legacy -N lost; touch /tmp/lost; echo kept > /root/kept")
        busy, mtu = orins.root(1, f"ip link set eth0 mtu 1400; {CYCLE}; cat /sys/class/net/eth0/mtu").splitlines()
        assert (busy, mtu) == ("RTNETLINK answers: Device or resource busy", "1366")
        orins.root(1, "systemctl daemon-reload; systemctl enable example; systemctl start example")
        assert orins.root(1, RULES).splitlines() == ["-N example", "-N lost"]
        init, before = orins.init(1), orins.ssh(1, BOOT_ID)

        outcome = play(orins, 1, "reboot", reboot_timeout=60)
        assert changed(outcome) and "rebooted: true" in outcome.output
        assert orins.init(1) != init and orins.ssh(1, BOOT_ID) not in ("", before)
        assert orins.root(1, f"{RULES}; ls /tmp/lost; cat /root/kept").splitlines() == [
            "-N example",
            "ls: cannot access '/tmp/lost': No such file or directory",
            "kept",
        ]
        assert "mtu 1466" in orins.ssh(1, "ip link show dev eth0")
        assert lab_link.is_shaped(orins.init(1), "eth0", 10**9)
        assert not changed(play(orins, 1, "systemd_service", name="example", enabled=True, state="started"))
        again = orins.up(lab_dress="orin", lab_password=PASSWORD)
        assert again.ok and again.changed == 0, again.output

        orins.root(1, "systemctl disable example; systemctl stop example")
        assert orins.root(1, RULES) == ""
        assert orins.ssh(1, "systemctl is-active example; systemctl is-enabled example") == "inactive\ndisabled"

    def test_a_program_runs_until_it_is_stopped_or_ends(self, orins: Lab) -> None:
        text = "[Service]\nExecStart=/usr/bin/sleep 60\nExecReload=/usr/bin/touch /root/again\n"
        orins.ssh(2, f"printf '{text}' > /etc/systemd/system/nap.service", user="root")
        orins.root(2, "systemctl start nap")
        pid = orins.ssh(2, "systemctl show --property=MainPID --value nap")
        orins.root(2, "systemctl reload nap")
        assert orins.ssh(2, "ls /root/again; systemctl is-enabled nap", user="root") == "/root/again\nstatic"
        assert changed(play(orins, 2, "service", name="nap", state="restarted"))
        second = orins.ssh(2, "systemctl show --property=MainPID --value nap")
        assert pid != second and orins.ssh(2, f"ps -o comm= {pid}; ps -o comm= {second}") == "sleep"
        orins.ssh(2, f"kill {second}; sleep 0.1", user="root")
        assert orins.ssh(2, "systemctl is-active nap; echo $?") == "failed\n3"
        assert "inactive" in orins.ssh(2, "sudo systemctl reset-failed nap; systemctl is-active nap")

    def test_what_cannot_be_is_refused(self, orins: Lab) -> None:
        unknown = play(orins, 2, "systemd_service", name="nothing", state="started")
        assert not unknown.ok and "Could not find the requested service nothing" in unknown.output
        text = "[Service]\nType=oneshot\nExecStart=/bin/false\n"
        orins.ssh(2, f"printf '{text}' > /etc/systemd/system/broken.service", user="root")
        broken = play(orins, 2, "systemd_service", name="broken", state="started")
        assert not broken.ok and "Job for broken.service failed" in broken.output
        assert "authentication required" in orins.ssh(2, "systemctl stop ssh || echo refused")
        assert "Must be root" in orins.ssh(2, "/usr/sbin/reboot || echo refused")


def login(address: str, password: str, commands: str) -> str:
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(address, username="nvidia", password=password, allow_agent=False, look_for_keys=False)
        _, stdout, stderr = client.exec_command(commands)
        return (stdout.read() + stderr.read()).decode().strip()


def test_a_plain_board_is_none_of_this_and_may_have_a_password(tmp_path: Path, python_env: Path) -> None:
    require_root()
    plain = Lab(tmp_path, 11, 2, python_env)
    try:
        hosts = json.loads((plain.inventory / "hosts.yml").read_text())
        hosts["boards"]["hosts"]["board-2"]["lab_password"] = "sesame 1$"
        (plain.inventory / "hosts.yml").write_text(json.dumps(hosts))
        started = plain.up()
        assert started.ok and "sesame" not in started.output, started.output

        assert plain.ssh(1, "ls /etc/nv_tegra_release /usr/sbin/nvpmodel; cat /proc/1/comm").endswith("tini")
        assert plain.ssh(1, "ls /sys/class/net; id nvidia").split("\n")[:2] == ["eth0", "lo"]
        assert "password" in plain.ssh(1, "sudo -n true")
        assert (
            plain.ssh(1, f"cmp {Path('/usr/bin/env')} /usr/bin/env && {BOOT_ID}")
            == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        )

        address = plain.address(2)
        assert login(address, "sesame 1$", "id -un; echo 'sesame 1$' | sudo -S -p '' id -un") == "nvidia\nroot"
        assert "password is required" in login(address, "sesame 1$", "sudo -n true")
        assert "Permission denied" in plain.ssh(2, "true", user="nvidia")  # no key
        for host, password in ((address, "sesame"), (plain.address(1), "sesame 1$")):
            with pytest.raises(paramiko.AuthenticationException):
                login(host, password, "true")
        again = plain.up()
        assert again.ok and again.changed == 0, again.output
    finally:
        ended = plain.down()
    assert ended.ok, ended.output


def test_down_leaves_nothing_even_of_a_board_that_reboots(tmp_path: Path, python_env: Path) -> None:
    require_root()
    lab = Lab(tmp_path, 12, 1, python_env)
    before = machine()
    assert lab.up(lab_dress="orin").ok
    names = {str(Path(f"/proc/{owner.pid}/ns/net").readlink()) for owner in lab.processes()}
    lab.ssh(1, "sudo reboot")
    outcome = lab.down()
    assert outcome.ok, outcome.output
    time.sleep(1)  # whatever would still boot
    assert in_namespaces(names) == [] and lab.processes() == []
    assert machine() == before and not lab.folder.exists()


class TestSettings:
    settings = lab_settings.Settings({"board-1": "198.18.77.11"}, 1, "/nowhere/lab", "", "1gbit", "x", "198.18.77.1/24")

    def problems(self, **changes: object) -> list[str]:
        return lab_settings._look_problems(replace(self.settings, **changes))

    def test_an_unknown_dress_is_told_with_those_there_are(self) -> None:
        assert self.problems() == self.problems(dresses=["", "orin"], password_users=["nvidia"]) == []
        (problem,) = self.problems(dresses=["nano"])
        assert "lab_dress='nano'" in problem and "give orin, orin-5.1.5," in problem and "or ''" in problem

    @pytest.mark.parametrize("user", ["board", "root", "No Name", ""])
    def test_a_password_is_for_another_user_than_the_labs(self, user: str) -> None:
        (problem,) = self.problems(password_users=[user])
        assert f"lab_password_user='{user}'" in problem and "such as nvidia" in problem

    def test_more_programs_are_needed_only_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lab_machine, "_is_there", lambda program: program != "sudo")
        assert lab_machine.missing_packages() == []
        assert lab_machine.missing_packages(look=True) == ["sudo"]
