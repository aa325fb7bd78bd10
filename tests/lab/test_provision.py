"""Roles of playbooks/provision.yml alone, with settings that a board cannot have, and with others than the default.

tests/lab/test_journey.py provisions boards as a whole. Here most runs give each of the two boards a case of its own.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import MOUNTED_ENV, PROJECT, Lab, Outcome
from wheels import provisioning_variables, write_requirements, write_wheel

from plugins.module_utils import lab_snapshot
from tests.slow_site import slow_site, told_in_time
from trainer.contract.packages import installed

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

# What the role changes for an MTU.
STATE = """\
cat /sys/class/net/eth0/mtu; ls /etc/systemd/network /var/lib/cluster-kit/*.json /var/lib/cluster-kit/mtu*
ip -4 route
"""
UUID = "5f1a76c4-2c5b-3d4e-9d51-61e0a1b0a3a1"  # of the one connection that the boards' nmcli knows
# For as long as the board has that MTU, and no longer.
CUT_OFF = """\
setsid -f sh -c '
mtu=/sys/class/net/eth0/mtu
until grep -q 1350 $mtu; do sleep 0.02; done
iptables-legacy -I INPUT -i eth0 -j DROP
while grep -q 1350 $mtu; do sleep 0.02; done
iptables-legacy -D INPUT -i eth0 -j DROP
' >/dev/null 2>&1 </dev/null
"""

# What the version before did to a board besides leaving files; `tests/data/schema1/board` has these.
PROVISIONED_BEFORE = """\
apt-get -q update && apt-get -qy install chrony
echo 'include /etc/chrony/cluster-kit.conf' >>/etc/chrony/chrony.conf
sed -i 's|^PATH="|PATH="/usr/local/cuda-11.4/bin:|' /etc/environment
jetson_clocks --store /var/lib/cluster-kit/jetson_clocks.conf; jetson_clocks
systemctl daemon-reload
systemctl enable cluster-kit-clocks cluster-kit-firewall
ip link set eth0 down; ip link set eth0 mtu 1434; ip link set eth0 up
"""


def changed_at_boot(lab: Lab, board: int) -> str:
    """Reboots a board, and returns the MTU that it has then."""
    rebooted = lab.ansible("ansible", f"board-{board}", "--become", "-m", "ansible.builtin.reboot")
    assert rebooted.ok, rebooted.output
    return lab.root(board, "cat /sys/class/net/eth0/mtu")


class Provisioning:
    """Tags of the playbook, with variables of each board's own."""

    def __init__(self, lab: Lab, variables: dict[str, Any]) -> None:
        self.lab, self.variables = lab, variables

    def __call__(self, tags: str, *boards: dict[str, Any]) -> Outcome:
        """Provisions as many boards as there are dictionaries: board 1 with the first one's variables, and so on."""
        folder = self.lab.inventory / "host_vars"
        folder.mkdir(exist_ok=True)
        for number, own in enumerate(boards, 1):
            (folder / f"board-{number}.json").write_text(json.dumps({**self.variables, **own}))
        limit = ",".join(f"board-{number}" for number in range(1, len(boards) + 1))
        try:
            return self.lab.play("provision", "--tags", tags, "--limit", limit)
        finally:
            for path in folder.iterdir():
                path.unlink()

    def done(self, tags: str, *boards: dict[str, Any]) -> Outcome:
        outcome = self(tags, *boards)
        assert outcome.ok, outcome.output
        return outcome


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings for the plain boards' environment, which is read-only, and that it fits."""
    (site,) = (PROJECT / ".board-venv/lib").glob("python*/site-packages")
    packages = {**installed([str(site)]), "pycuda": "2022.2.2"}
    name = next(name for name in packages if name.startswith("tensorflow-cpu"))
    requirements = tmp_path_factory.mktemp("mounted") / "requirements.txt"
    text = "".join(f"{name}=={version} --hash=sha256:{'0' * 64}\n" for name, version in packages.items())
    requirements.write_text(text)
    return {
        "kit_venv": MOUNTED_ENV,
        "python_env_requirements": str(requirements),
        "python_env_tensorflow": f"{name}=={packages[name]}",
        "python_env_pycuda": "",
        "python_env_pins": {},
        "python_env_wheels": "",
    }


@pytest.fixture(scope="module")
def provision(orins: Lab, tmp_path_factory: pytest.TempPathFactory) -> Provisioning:
    return Provisioning(orins, provisioning_variables(tmp_path_factory.mktemp("wheels"), "/home/board/venv"))


class TestPythonEnv:
    def test_wrong_settings_are_refused_with_value_and_remedy(self, provision: Provisioning) -> None:
        wrong = (
            {"python_env_tensorflow": "/no/where.whl", "python_env_tensorflow_sha256": "abc"},
            {"python_env_pycuda": "pycuda>2022", "python_env_requirements": "/no/where.txt"},
        )
        outcome = provision("python_env", *wrong)
        for board, setting in enumerate(wrong, 1):
            for name, value in setting.items():
                assert value in outcome.told[f"board-{board}"] and name in outcome.told[f"board-{board}"]

    def test_a_wheel_with_another_checksum_and_a_read_only_environment_are_refused(
        self, provision: Provisioning, mounted: dict[str, Any]
    ) -> None:
        other = {**mounted, "python_env_pycuda": "pycuda==2022.2.2"}
        outcome = provision("python_env", {"python_env_tensorflow_sha256": "0" * 64}, other)
        assert "another file" in outcome.told["board-1"]
        assert "pycuda is missing, not 2022.2.2), and is mounted read-only" in outcome.told["board-2"]
        assert "No such file" in provision.lab.ssh(1, "ls /home/board/venv")

    def test_a_version_that_is_a_number_is_refused(self, provision: Provisioning) -> None:
        outcome = provision("python_env", {"python_env_pins": {"h5py": 3.10}}, {"python_env_python_version": 3.10})
        for board, name in enumerate(("python_env_pins: h5py", "python_env_python_version"), 1):
            told = outcome.told[f"board-{board}"]
            assert f'{name} is 3.1, a number, and 3.10 would become 3.1: put it in quotes, as in "3.10"' in told

    @pytest.mark.slow
    def test_while_pip_downloads_for_long_it_is_told_how_much_is_there(
        self, provision: Provisioning, tmp_path: Path
    ) -> None:
        """From an index that is slow; the board's pip, which is the system's, says nothing of that itself."""
        lab = provision.lab
        packages = Path(provision.variables["python_env_wheels"])
        files = {path.name: path.read_bytes() for path in packages.iterdir()}
        large = write_wheel(tmp_path, "numpy", "1.23.5", "py3-none-any", {"numpy/large": "0123456789" * 400_000})
        files[large.name] = large.read_bytes()
        lab.root(1, f"printf '[global]\\ntrusted-host = {lab.network}.1\\n' >/etc/pip.conf")
        try:
            with slow_site(files, 250_000, f"{lab.network}.1") as site:
                settings = {"python_env_index": f"{site.url}/simple", "python_env_wheels": ""}
                settings |= {"python_env_packages": [], "python_env_pycuda": "", "kit_venv": "/home/board/slow"}
                write_requirements(tmp_path / "requirements.txt", large)
                settings["python_env_requirements"] = str(tmp_path / "requirements.txt")
                outcome = provision.done("python_env", settings)
                task = "python_env : install | Install the packages"
                assert told_in_time(outcome.output, task, "board-1", large.name), outcome.output
                assert lab.ssh(1, "ls -d /tmp/cluster-kit-pip*").endswith("No such file or directory")
                again = provision.done("python_env", settings)
                assert again.changes == {"board-1": 0}, again.output
        finally:
            lab.root(1, "rm -rf /etc/pip.conf /home/board/slow")

    def test_one_that_fits_is_left_alone_and_cannot_run_nccl(
        self, provision: Provisioning, mounted: dict[str, Any]
    ) -> None:
        other = "/home/board/other"  # of the system's Python
        provision.lab.ssh(2, f"mkdir -p {other}/bin; ln -s /usr/bin/python3 {other}/bin/python")
        wanted = {"kit_venv": other, "python_env_python_version": "3.7"}
        outcome = provision("python_env,nccl", mounted, {**mounted, **wanted})
        assert set(outcome.told) == {"board-2"}
        assert ", not 3.7" in outcome.told["board-2"] and "remove that folder" in outcome.told["board-2"]
        outcome = provision("python_env,nccl", mounted, {**mounted, "kit_python": "/usr/bin/python3"})
        assert outcome.changes == {"board-1": 0, "board-2": 0}, outcome.output
        assert set(outcome.told) == {"board-2"} and "cannot import TensorFlow" in outcome.told["board-2"]
        found = json.loads(provision.lab.ssh(1, "cat /opt/cluster-kit/nccl.json"))
        assert (found["capable"], found["kernels"], found["tensorflow"]) == (False, 0, "2.12.1")

    @pytest.mark.slow
    def test_one_whose_tensorflow_has_nccl_can_run_it(self, provision: Provisioning) -> None:
        settings = {"python_env_packages": [], "python_env_pycuda": ""}  # without what the role jetpack installs
        assert provision.done("python_env,nccl", settings).changed > 0
        found = json.loads(provision.lab.ssh(1, "cat /opt/cluster-kit/nccl.json"))
        assert (found["capable"], found["kernels"], found["tensorflow"]) == (True, 7, "2.12.0+nv23.5")


def test_a_shifted_clock_is_found_and_servers_are_named(provision: Provisioning) -> None:
    """The board's `date`, which is what is asked, goes 2.5 s ahead."""
    lab, named = provision.lab, {"clock_servers": ["192.0.2.1"], "clock_controller": True}
    shifted = "#!/bin/sh\\nexec /usr/bin/python3 -c 'import time; print(time.time() + 2.5)'\\n"
    lab.root(1, f'printf "{shifted}" >/usr/local/bin/date && chmod 755 /usr/local/bin/date')
    try:
        outcome = provision.done("clock", named)
    finally:
        lab.root(1, "rm /usr/local/bin/date")
    assert "board-1: clock +25" in outcome.output
    clock = json.loads(lab.ssh(1, "cat /opt/cluster-kit/clock.json"))
    assert clock["offset_s"] == pytest.approx(2.5, abs=0.1)
    assert abs(clock["offset_s"] - 2.5) <= clock["uncertainty_s"]
    here = lab.settings["lab_address"].split("/")[0]
    servers = lab.root(1, "grep ^server /etc/chrony/cluster-kit.conf")
    assert servers == f"server {here} iburst prefer\nserver 192.0.2.1 iburst prefer"
    assert "include /etc/chrony/cluster-kit.conf" in lab.root(1, "cat /etc/chrony/chrony.conf")
    assert provision.done("clock", named).changed == 0


class TestNetwork:
    def test_an_address_on_no_interface_or_a_wireless_one_is_refused(self, provision: Provisioning) -> None:
        wireless = provision.lab.root(2, "ip -o -4 address show wlan0 | awk '{ print $4 }'").split("/")[0]
        told = provision("network", {"training_address": "192.0.2.7"}, {"training_address": wireless}).told
        assert "192.0.2.7 is on no interface of this board" in told["board-1"]
        assert "training_address" in told["board-1"]
        assert "is on wlan0, which is wireless" in told["board-2"] and "connect the board" in told["board-2"]

    def test_a_slow_link_is_refused_and_an_unknown_speed_is_warned_of(self, provision: Provisioning) -> None:
        lab, wanted = provision.lab, {"network_speed_mbit": 10000}
        lab.root(1, "mkdir /sys/class/net/eth0/device")  # a virtual interface's speed counts for nothing
        try:
            outcome = provision("network", wanted, wanted)
        finally:
            lab.root(1, "rmdir /sys/class/net/eth0/device")
        assert set(outcome.told) == {"board-1"}
        assert "eth0 has 1000 Mbit/s" in outcome.told["board-1"]
        assert "network_speed_mbit=10000" in outcome.told["board-1"]
        assert "does not know its link's speed" in outcome.output

    def test_an_mtu_is_set_while_the_link_is_down_and_given_back(self, provision: Provisioning) -> None:
        lab, link_file = provision.lab, "/etc/systemd/network/10-cluster-kit.link"
        kept = f"cat /sys/class/net/eth0/mtu; nmcli --get-values 802-3-ethernet.mtu connection show uuid {UUID}"
        lab.root(2, "mv /usr/bin/nmcli /usr/bin/nmcli.away")
        lab.root(1, f"ip route add 10.99.0.0/24 via {lab.network}.1")
        try:
            assert "busy" in lab.root(1, "ip link set eth0 mtu 1400")
            outcome = provision("network", {"network_mtu": 1400}, {"network_mtu": 1400})
            assert "NetworkManager (nmcli)" in outcome.told["board-2"]
            assert "leave network_mtu empty" in outcome.told["board-2"]
            assert set(outcome.told) == {"board-2"}
            assert lab.root(1, kept) == "1400\n1400"
            assert f"via {lab.network}.1" in lab.root(1, "ip route show 10.99.0.0/24")
            mac = lab.root(1, "cat /sys/class/net/eth0/address")
            written = lab.root(1, f"cat {link_file}")
            assert f"[Match]\nPermanentMACAddress={mac}\n" in written
            assert "NamePolicy=keep kernel" in written and written.endswith("MTUBytes=1434")  # the driver keeps 34
            assert provision.done("network", {"network_mtu": 1400}).changed == 0
            preview = lab.play("restore", "--tags", "network", "--limit", "board-1", "--check", "--diff")
            assert preview.changes["board-1"] == 1 and "+mtu 1466" in preview.output, preview.output
            provision.done("network", {"network_mtu": 1300})
            assert changed_at_boot(lab, 1) == "1300"
            assert provision.done("network", {"network_mtu": 1300}).changed == 0
            restored = lab.play("restore", "--tags", "network", "--limit", "board-1")  # not to 1400
            assert restored.ok, restored.output
            assert lab.root(1, f"{kept}; ls {link_file} 2>/dev/null") == "1466\nauto"
            assert changed_at_boot(lab, 1) == "1466"
        finally:
            lab.root(2, "mv /usr/bin/nmcli.away /usr/bin/nmcli")
            lab.root(1, "ip route delete 10.99.0.0/24")  # a reboot did, if it got there

    def test_an_mtu_with_which_a_board_is_not_reached_is_taken_back(self, provision: Provisioning) -> None:
        """A switch that takes no other MTU: while board 1 has that, nothing of it gets through."""
        lab = provision.lab
        lab.root(1, CUT_OFF)
        before = lab.root(1, STATE)
        outcome = provision("network", {"network_mtu": 1350, "network_confirm_s": 8}, {"network_mtu": 1350})
        assert set(outcome.told) == {"board-1"}, outcome.output
        assert "with an MTU of 1350 bytes this board was not reached for 8 s" in outcome.told["board-1"]
        assert "eth0 has 1466 again" in outcome.told["board-1"]
        assert lab.root(1, STATE) == before and "1466" in before
        assert lab.root(2, "cat /sys/class/net/eth0/mtu") == "1350"
        restored = lab.play("restore", "--tags", "network")
        assert restored.ok and restored.changes == {"board-1": 0, "board-2": 1}, restored.output

    def test_an_mtu_that_the_driver_refuses_changes_nothing(self, provision: Provisioning) -> None:
        lab = provision.lab
        before = lab.root(1, STATE)
        outcome = provision("network", {"network_mtu": 99999}, {"network_mtu": 1200})
        assert "mtu 99999' failed" in outcome.told["board-1"] and "1280 bytes or more" in outcome.told["board-2"]
        assert lab.root(1, STATE) == before


@pytest.mark.timeout(600)  # two playbooks, with the services of a board
def test_what_the_version_before_has_provisioned_is_given_back(provision: Provisioning) -> None:
    lab, restore = provision.lab, ("ansible-playbook", "playbooks/restore.yml", "--limit", "board-2")
    lab.set_clock(2)
    assert lab.ansible(*restore, limit_s=300).ok  # what the tests before have left
    fresh = lab_snapshot.snapshot(lab.folder, "board-2")
    left = subprocess.run(
        ["tar", "-c", "--owner=root", "--group=root", "-C", PROJECT / "tests/data/schema1/board", "."],
        capture_output=True,
        check=True,
    )
    ssh = [argument for argument in lab.ssh_command(2, "root") if argument != "-n"]
    subprocess.run([*ssh, "tar -x -C / --no-overwrite-dir"], input=left.stdout, check=True, timeout=60)
    record = json.loads(lab.root(2, "cat /var/lib/cluster-kit/network.json"))
    record |= {"connection": UUID, "mtu": int(fresh["cat /sys/class/net/eth0/mtu"])}  # of another board's network
    lab.write(2, "/var/lib/cluster-kit/network.json", json.dumps(record).encode(), "644")
    said = lab.root(2, f"{PROVISIONED_BEFORE}nmcli connection modify uuid {UUID} 802-3-ethernet.mtu 1400")
    provisioned = lab_snapshot.differences(fresh, lab_snapshot.snapshot(lab.folder, "board-2"))
    for what in ("jetson_clocks --show", "systemctl is-enabled", "/etc/environment", "cat /sys/class/net/eth0/mtu"):
        assert any(name.startswith(what) for name in provisioned), (what, said)
    restored = lab.ansible(*restore, limit_s=300)
    assert restored.ok, restored.output
    left_over = lab_snapshot.differences(fresh, lab_snapshot.snapshot(lab.folder, "board-2"))
    # what purge removes, and Ansible's own
    own = {"/opt/cluster-kit", "/opt/cluster-kit/nccl.json", f"{lab.root(2, 'echo ~')}/.ansible_async"}
    assert set(left_over) <= own, left_over
    assert lab.root(2, "ls /var/lib/cluster-kit/*.json /etc/apt/sources.list.d/cluster-kit.list 2>/dev/null") == ""
