"""From boards that only have a password to a run and back: enrol, provision, again, train guarded, restore.

One journey in the order of the file, since each step needs the one before. Board 1 has another kernel than
Orins come with, one with nftables.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ANSIBLE, MOUNTED_ENV, PROJECT, Lab
from test_enrolment import SECRET, Boards, rows
from wheels import lab_variables

from plugins.module_utils import lab_snapshot
from trainer.contract.packages import digest

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow, pytest.mark.slow]

PORT = 12345
VENV = "/opt/cluster-kit/venv"
STORED = "/var/lib/cluster-kit/jetson_clocks.conf"
RELEASE = "/etc/nv_tegra_release"
SHORT = {
    "epochs": 1,
    "batch_size": 32,
    "data": {"train_images": 128, "validation_images": 64},
    "model": {"image_size": 32, "fine_tune": "head"},  # seconds less to trace
}
# What dpkg is called with tells whether apt's timers rest; one of them has apt's lock.
TIMERS = "systemctl is-active apt-daily.timer apt-daily-upgrade.timer"
BUSY = f"""\
echo 'DPkg::Pre-Invoke {{"{TIMERS} >>/root/timers || true"; }};' >/etc/apt/apt.conf.d/99timers
systemctl start apt-daily-upgrade.service
sleep 0.5
"""
TRY_LOCK = (
    "python3 -c \"import fcntl; fcntl.lockf(open('/var/lib/dpkg/lock-frontend', 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)\""
)
IDLE = "cat /root/timers; rm /root/timers /etc/apt/apt.conf.d/99timers"
# Of Ubuntu 18.04: knows no annotations of the future, which Ansible's modules begin with, too.
OLD_PYTHON = """\
cp -P /usr/bin/python3 /usr/bin/python3.new
cat >/usr/bin/python3.old <<'END'
#!/bin/sh
if [ "$1" = -c ]; then
  exec "$(readlink -f /usr/bin/python3.new)" -c "import platform, sys; sys.version_info = (3, 6, 9, 'final', 0)
platform.python_version = lambda: '3.6.9'
del sys.argv[1:3]
exec('''$2''')" "$@"
fi
if [ "${1:--}" = - ] && grep -q 'from __future__ import annotations'; then
  echo '  File "<stdin>", line 1' >&2
  echo 'SyntaxError: future feature annotations is not defined' >&2
  exit 1
fi
exec "$(readlink -f /usr/bin/python3.new)" "$@"
END
chmod 755 /usr/bin/python3.old
mv /usr/bin/python3.old /usr/bin/python3
"""
NFT = "/usr/sbin/nft"
RECORDS = ("nccl", "clock")
SERVE = """\
setsid -f python3 -m http.server {port} >/dev/null 2>&1 </dev/null
for i in $(seq 50); do timeout 1 bash -c '</dev/tcp/127.0.0.1/{port}' 2>/dev/null && break; sleep .1; done
"""


class Orins(Boards):
    """What is done to the boards, and what they are like then."""

    def play(self, playbook: str, *arguments: str, **variables: object) -> Any:
        return self.ansible("ansible-playbook", f"playbooks/{playbook}.yml", *arguments, "-e", json.dumps(variables))

    def done(self, playbook: str, *arguments: str, **variables: object) -> Any:
        played = self.play(playbook, *arguments, **variables)
        assert played.ok, played.output
        return played

    def fingerprint(self, number: int) -> str:
        return self.lab.ssh(number, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]

    def boot(self, board: int) -> str:
        return self.lab.ssh(board, "cat /proc/sys/kernel/random/boot_id")

    def mode(self, board: int) -> str:
        return self.lab.root(board, "nvpmodel -q").split("\n")[0].removeprefix("NV Power Mode: ")

    def pinned(self, board: int) -> bool:
        shown = self.lab.root(board, "jetson_clocks --show")
        return "FreqOverride=1" in shown and bool(re.search(r"GPU MinFreq=(\d+) MaxFreq=\1 ", shown))

    def state(self) -> list[dict[str, str]]:
        """All that each board has of its own: what provisioning changes, and restoring gives back."""
        return [lab_snapshot.snapshot(self.lab.folder, f"board-{board}") for board in (1, 2)]

    def serve(self, board: int, port: int) -> None:
        """Lets something answer at a port of the board, as TensorFlow's server would."""
        self.lab.ssh(board, SERVE.format(port=port))

    def reaches(self, board: int, other: int) -> bool:
        """Tells whether something answers a board at another's port."""
        address = self.lab.address(other)
        connect = f"timeout 2 bash -c '</dev/tcp/{address}/{PORT}' 2>/dev/null && echo reached"
        return self.lab.ssh(board, connect) == "reached"

    def answers(self, board: int, port: int = PORT) -> bool:
        """Tells whether the board's port answers this machine, which is on its network and no board of the group."""
        try:
            socket.create_connection((self.lab.address(board), port), timeout=1.5).close()
        except TimeoutError:
            return False
        return True


@pytest.fixture(scope="module")
def boards(orins: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orins]:
    """Fresh boards in an inventory like a user's, which only says where they are."""
    inventory = tmp_path_factory.mktemp("journey") / "inventory"
    boards = Orins(orins, inventory, keep_connections=True)
    boards.list(
        **{f"orin-{n}": {"ansible_host": orins.address(n), "enrol_fingerprint": boards.fingerprint(n)} for n in (1, 2)}
    )
    (inventory / "group_vars/all.json").write_text(json.dumps(lab_variables()))
    orins.write(1, NFT, Path(NFT).read_bytes(), "755")
    yield boards
    orins.root(1, f"rm {NFT}")


@pytest.fixture(scope="module")
def enrolled(boards: Orins) -> Any:
    return boards.enrol()


@pytest.fixture(scope="module")
def fresh(boards: Orins, enrolled: Any) -> list[dict[str, str]]:
    return boards.state()


def test_enrolment(enrolled: Any, fresh: Any) -> None:
    assert enrolled.ok, enrolled.output
    assert set(rows(enrolled.output).values()) == {"enrolled"}
    assert SECRET not in enrolled.output


def test_a_preview_changes_nothing(boards: Orins, fresh: Any) -> None:
    outcome = boards.done("provision", "--check", "--diff", "--limit", "orin-1")
    assert boards.state() == fresh
    assert re.search(r"orin-1: clock -\d{9} s off the controller's; it would be set", outcome.output), outcome.output
    for words in ("apt would install nvidia-jetpack=5.1.1-b56", f"{VENV} would be changed: there is none"):
        assert words in outcome.output, outcome.output


def test_other_releases_are_refused_by_name(boards: Orins) -> None:
    lab = boards.lab
    right = lab.root(1, f"cat {RELEASE}")
    # one by its file, one by the version of its package
    lab.root(1, f"echo '# R32 (release), REVISION: 7.1, GCID: 1, BOARD: generic, EABI: aarch64' > {RELEASE}")
    lab.root(1, OLD_PYTHON)
    version = "sed -i '/^Package: nvidia-l4t-core/,/^$/s/^Version: {}/Version: {}/' /var/lib/dpkg/status"
    lab.root(2, f"rm {RELEASE}; {version.format('35.3.1', '34.1.1')}")
    try:
        before = boards.state()
        outcome = boards.play("provision")
        assert not outcome.ok and boards.state() == before
        checked = boards.play("check", check_measure_network=False)
    finally:
        lab.root(1, "mv /usr/bin/python3.new /usr/bin/python3")
        lab.root(2, version.format("34.1.1", "35.3.1"))
        for board in (1, 2):
            lab.root(board, f"echo '{right}' > {RELEASE}")
    for board, release in (("orin-1", "32.7.1"), ("orin-2", "34.1.1")):
        known = "JetPack 5.1.1 to 5.1.5 or 6.0 to 6.2.1"
        wanted = f"{board} has Jetson Linux R{release}; wanted is {known}: flash JetPack 5.1.1"
        assert wanted in outcome.told[board], outcome.output
    assert re.search(r"orin-1 +board.jetpack +refuse +L4T 32.7.1, Python 3.6.9", checked.output), checked.output


def test_provisioning(boards: Orins, fresh: Any) -> None:
    boots = boards.boot(1)
    boards.lab.root(1, BUSY)
    assert "BlockingIOError" in boards.lab.root(1, TRY_LOCK)
    outcome = boards.done("provision")
    assert set(boards.lab.root(1, IDLE).split()) == {"inactive"}
    assert boards.lab.root(1, TIMERS).split() == ["active", "active"]
    assert set(re.findall(r"(orin-.): clock -\d{9} s .*; it is set now", outcome.output)) == {"orin-1", "orin-2"}
    assert min(outcome.changes.values()) > 10
    assert boards.boot(1) != boots  # the modes have different GPU masks
    python = f"{VENV}/bin/python"
    names = ("tensorflow", "pycuda", "jax")
    script = f"from importlib import metadata as m; print(*(f'{{n}}=={{m.version(n)}}' for n in {names}))"
    packages = "dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' nvidia-jetpack libcudnn8 tensorrt"
    for board in (1, 2):
        assert boards.mode(board) == "MAXN" and boards.pinned(board)
        found = boards.lab.ssh(board, f'{python} -c "{script}"')
        assert found == "tensorflow==2.12.0+nv23.5 pycuda==2022.2.2 jax==0.4.13"
        assert "No broken requirements" in boards.lab.ssh(board, f"{python} -m pip check")
        assert boards.lab.ssh(board, f"stat -c %U {python}") == "nvidia"
        assert boards.lab.ssh(board, packages).splitlines() == [
            "libcudnn8 8.6.0.166-1+cuda11.4 installed",
            "nvidia-jetpack 5.1.1-b56 installed",
            "tensorrt 8.5.2.2-1+cuda11.4 installed",
        ]
        path = boards.lab.ssh(board, "grep ^PATH= /etc/environment")
        assert path.startswith('PATH="/usr/local/cuda-11.4/bin:/'), path
        assert "release 11.4, V11.4.315" in boards.lab.ssh(board, "/usr/local/cuda/bin/nvcc --version")
        assert boards.lab.ssh(board, "systemctl is-active chrony systemd-timesyncd") == "active\ninactive"
        kept = {name: json.loads(boards.lab.ssh(board, f"cat /opt/cluster-kit/{name}.json")) for name in RECORDS}
        assert (kept["nccl"]["capable"], kept["nccl"]["tensorflow"]) == (False, "2.12.0+nv23.5")
        # one kernel has one clock
        assert abs(kept["clock"]["offset_s"]) <= kept["clock"]["uncertainty_s"] < 0.1 and kept["clock"]["rounds"] == 8
    assert f"tcp dport {PORT} jump" in boards.lab.root(1, "nft list table inet cluster_kit")
    assert f"--dport {PORT} -j CLUSTER_KIT" in boards.lab.root(2, "iptables-legacy -S")
    assert "no packages found" in boards.lab.root(2, "dpkg-query -W nftables")  # it would be of no use there
    assert not Path("/usr/local/cuda-11.4").exists()


def test_provisioning_again_changes_nothing(boards: Orins) -> None:
    boots, stored = boards.boot(1), boards.lab.root(1, f"cat {STORED}")
    outcome = boards.done("provision")
    assert outcome.changes == {"orin-1": 0, "orin-2": 0}, outcome.output
    assert (boards.boot(1), boards.lab.root(1, f"cat {STORED}")) == (boots, stored)


def test_clocks_stay_pinned_and_where_they_do_not_the_check_names_them(boards: Orins) -> None:
    """Through nvpmodel's service; not through a mode set by hand, nor without the drop-in."""
    boards.lab.root(1, "systemctl restart nvpmodel")
    boards.lab.root(2, "systemctl isolate multi-user.target")
    assert boards.pinned(1) and boards.pinned(2)
    drop_in = "/etc/systemd/system/nvpmodel.service.d/cluster-kit.conf"
    for what_resets_them in ("nvpmodel -m 0", f"rm {drop_in}; systemctl daemon-reload; systemctl restart nvpmodel"):
        boards.lab.root(1, what_resets_them)
        assert not boards.pinned(1)
        checked = boards.play("check", check_measure_network=False)
        assert not checked.ok
        (line,) = re.findall(r"^ *(\S+) +board[.]frequencies +refuse +(.*)", checked.output, re.MULTILINE)
        assert line[0] == "orin-1" and line[1].startswith("unpinned: CPU policy0 730 to "), checked.output
        changes = boards.done("provision", "--tags", "power").changes
        assert changes["orin-1"] > 0 and changes["orin-2"] == 0 and boards.pinned(1)
    assert drop_in in boards.lab.root(1, f"ls {drop_in}")


def test_a_run_is_checked_and_guarded(boards: Orins, tmp_path: Path) -> None:
    variables = {
        "override": SHORT,
        "run_config_runs_dir": str(tmp_path),
        "check_measure_network": True,
        "check_throughput_fraction": 0.1,  # other tests' load is not the link's
        "check_disk_bytes": 10**15,
        "waive": ["board.disk"],
    }
    train = [
        *(str(ANSIBLE / "ansible-playbook"), "-i", str(boards.inventory), "playbooks/run_experiment.yml"),
        *("-e", "workers=2", "-e", json.dumps(variables)),
    ]
    with subprocess.Popen(train, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        listening, deadline = (
            "pgrep -f '[t]rainer.supervise.supervisor' && ss -Hltn 'sport = :12345'",
            time.monotonic() + 90,
        )
        while not all(":12345" in boards.lab.ssh(board, listening) for board in (1, 2)):
            assert run.poll() is None and time.monotonic() < deadline, run.communicate(timeout=60)[0]
            time.sleep(0.5)
        for board, other in ((1, 2), (2, 1)):
            assert boards.reaches(board, other) and not boards.answers(board)
        boards.lab.root(2, "echo 5 >/sys/class/hwmon/hwmon3/oc3_event_cnt")
        output, _ = run.communicate(timeout=300)
    assert run.returncode == 0, output
    (folder,) = tmp_path.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "succeeded"
    assert manifest["gates"]["boards"]["orin-1"]["power_mode"] == "MAXN"
    assert manifest["gates"]["waived"] == ["board.disk"]
    findings = [(finding["board"], finding["gate"], finding["waived"]) for finding in manifest["gates"]["findings"]]
    assert findings == [("orin-1", "board.disk", True), ("orin-2", "board.disk", True)]
    assert "gates.json" in manifest["sha256"]
    told = {board["name"]: board["facts"] for board in manifest["boards"]}
    assert [fact["over_current_events"]["oc3"] for fact in told.values()] == [0, 5]
    assert {tuple(fact["clocks_pinned"].items()) for fact in told.values()} == {(("start", True), ("end", True))}
    assert "Warning: orin-2 throttled its clocks 5 times (peak power 5)" in output
    rails = ["VDD_CPU_CV", "VDD_GPU_SOC", "VIN_SYS_5V0"]
    assert all(board["cost"]["rails"] == rails for board in manifest["boards"])
    assert all(40 < board["cost"]["temperature_max_c"] < 60 for board in manifest["boards"])
    facts = [board["facts"] for board in manifest["boards"]]
    assert {(fact["jetpack"], fact["tensorflow"]) for fact in facts} == {("5.1.1", "2.12.0+nv23.5")}
    found = [board["venv"]["packages"] for board in json.loads((folder / "gates.json").read_text())["boards"].values()]
    assert [fact["packages_sha256"] for fact in facts] == [digest(packages) for packages in found]
    assert found[0] == found[1] and {"tensorflow", "pycuda", "jax"} <= found[0].keys()
    measured = {(record["from"], record["to"]): record["bit_per_s"] for record in manifest["gates"]["measured"]}
    assert set(measured) == {("orin-1", "orin-2"), ("orin-2", "orin-1")}


def test_what_was_changed_is_put_right(boards: Orins) -> None:
    """The environment, and the rules, which touch nothing but the port."""
    boards.lab.root(1, f"rm -r {VENV}/lib/python*/site-packages/pycuda*")
    for board in (1, 2):
        boards.serve(board, PORT)
        boards.serve(board, PORT + 1)
    boards.lab.root(1, "nft add table inet others; nft delete table inet cluster_kit")
    boards.lab.root(2, "iptables-legacy -I INPUT -p tcp --dport 9 -j DROP; iptables-legacy -I CLUSTER_KIT -j RETURN")
    assert boards.answers(1) and boards.answers(2)
    changes = boards.done("provision", "--tags", "python_env,firewall").changes
    assert changes["orin-1"] > 1 and changes["orin-2"] == 1
    assert "No such file" not in boards.lab.ssh(1, f"ls -d {VENV}/lib/*/*/pycuda")
    for board, other in ((1, 2), (2, 1)):
        assert not boards.answers(board) and boards.answers(board, PORT + 1)
        assert boards.reaches(other, board) and boards.reaches(board, board)  # over its own address
    assert "others" in boards.lab.root(1, "nft list tables; nft delete table inet others")
    assert "--dport 9 -j DROP" in boards.lab.root(2, "iptables-legacy -S INPUT; iptables-legacy -D INPUT 2")
    boards.lab.root(1, "nft insert rule inet cluster_kit input accept")
    boards.lab.root(2, "iptables-legacy -I INPUT -j ACCEPT")  # before ours
    assert boards.answers(1) and boards.answers(2)
    assert boards.done("provision", "--tags", "firewall").changes == {"orin-1": 1, "orin-2": 1}
    boards.lab.root(2, "iptables-legacy -D INPUT -j ACCEPT")
    assert not boards.answers(1) and not boards.answers(2)


def test_rules_and_clocks_survive_a_reboot(boards: Orins) -> None:
    boots = boards.boot(1), boards.boot(2)
    rebooted = boards.ansible("ansible", "boards", "--become", "-m", "ansible.builtin.reboot")
    assert rebooted.ok, rebooted.output
    for board, other in ((1, 2), (2, 1)):
        assert boards.boot(board) != boots[board - 1]
        boards.serve(board, PORT)
        assert boards.reaches(other, board) and not boards.answers(board)
        assert boards.pinned(board)


def test_another_mode_may_need_no_reboot_and_must_exist(boards: Orins) -> None:
    boots, stored = boards.boot(1), boards.lab.root(1, f"cat {STORED}")
    boards.list(
        **{
            "orin-1": {"ansible_host": boards.lab.address(1), "kit_power_mode": "3"},
            "orin-2": {"ansible_host": boards.lab.address(2), "kit_power_mode": "MODE_40W"},
        }
    )
    try:
        outcome = boards.play("provision", "--tags", "power")
    finally:
        boards.list(**{f"orin-{n}": {"ansible_host": boards.lab.address(n)} for n in (1, 2)})
    assert set(outcome.told) == {"orin-2"}
    assert "power_mode=MODE_40W is not one of this board's modes" in outcome.told["orin-2"]
    assert "MAXN (0), MODE_15W (1), MODE_30W (2), MODE_50W (3)" in outcome.told["orin-2"]
    assert (boards.mode(1), boards.mode(2)) == ("MODE_50W", "MAXN")
    assert boards.boot(1) == boots
    assert boards.lab.root(1, f"cat {STORED}") == stored  # still of the board as it was when it was fresh


def test_restoring_gives_back_what_was_before(boards: Orins, fresh: list[dict[str, str]]) -> None:
    provisioned = boards.state()
    preview = boards.done("restore", "--check", "--diff", "--limit", "orin-2")
    assert boards.state() == provisioned != fresh
    assert preview.changes["orin-2"] > 0
    boards.lab.root(1, "mkdir /opt/purged; touch /opt/purged/file /opt/cluster-kit/file")
    mounted = str(Path(MOUNTED_ENV).parent)
    boards.done("restore", purge=True, restore_purge_paths=["/opt/purged", "/opt/cluster-kit", mounted])
    for board, before, now in zip((1, 2), fresh, boards.state(), strict=True):
        assert lab_snapshot.differences(before, now) == {}, board
    assert boards.lab.root(1, f"ls -d /opt/cluster-kit /opt/purged 2>/dev/null; ls -A {mounted}") == "venv"
    assert boards.done("restore", "--limit", "orin-1", purge=True).changes == {"orin-1": 0}
