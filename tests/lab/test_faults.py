"""Real faults on emulated boards: every run ends with a verdict, its logs are here, and the boards are clean.

`make faults` runs all rows and prints them as a table; `make test` leaves out what is marked thorough.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from conftest import ANSIBLE, PROJECT, Lab, Outcome, training_lab
from test_run import SHORT

from analysis import load

pytestmark = [pytest.mark.lab, pytest.mark.tensorflow]

lab = training_lab(9)

LASTING = {**SHORT, "epochs": 2000, "checkpoint_epochs": 0}
RUNS = "/opt/cluster-kit/runs"
STALL_LIMIT_S = 20


class Run:
    """run_experiment.yml in the background, as in a terminal of its own."""

    def __init__(self, lab: Lab, runs: Path, override: dict, **variables: object) -> None:
        self.lab, self._runs = lab, runs
        # a dead board must not decide how long the others' tests take
        extra = {"workers": 2, "override": override, "run_config_runs_dir": str(runs), **variables}
        self._log = runs.parent / "ansible.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                self.command("playbooks/run_experiment.yml", "-e", json.dumps(extra)),
                cwd=PROJECT,
                env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def command(self, *arguments: str) -> list[str]:
        return [str(ANSIBLE / "ansible-playbook"), "-i", str(self.lab.inventory), *arguments]

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def folder(self) -> Path:
        (folder,) = self._runs.iterdir()
        return folder

    @property
    def manifest(self) -> dict:
        return json.loads((self.folder / "manifest.json").read_text())

    def wait_until(self, true: Callable[[], bool], what: str, limit_s: float = 300) -> None:
        deadline = time.monotonic() + limit_s
        while not true():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, f"{what}: not in {limit_s} s\n{self.output}"
            time.sleep(0.2)

    def wait_for_epochs(self, count: int = 1) -> None:
        """Until the controller has seen so many more epochs of every board."""
        begin = self._epochs()
        self.wait_until(lambda: self._epochs() >= begin + count, f"{count} more epochs")

    def _epochs(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            files = [self.folder / f"boards/board-{n}/events.jsonl" for n in (1, 2)]
            return min(file.read_text().count('"event": "epoch"') for file in files)
        return 0

    def end(self, limit_s: float = 300) -> int:
        return self.process.wait(timeout=limit_s)

    def trainer(self, board: int) -> str:
        """The number of the trainer's process on its board, as text for a script on that board."""
        beat = self.lab.ssh(board, f"cat {RUNS}/*/heartbeat.json")
        return str(json.loads(beat)["trainer"])

    def failed(self, *, culprit: str, kind: str, logs: tuple[int, ...] = (1, 2), within_s: float) -> dict:
        """Wait for the end; require the verdict. Returns the manifest."""
        begin = time.monotonic()
        code = self.end()
        seconds = time.monotonic() - begin
        assert code != 0
        manifest = self.manifest
        assert (manifest["culprit"], manifest["cause_kind"]) == (culprit, kind), self.output
        assert manifest["status"] == "failed" and culprit in self.output
        assert f"The log of {culprit} ends with" in self.output
        for board in logs:
            home = self.folder / f"boards/board-{board}"
            assert {path.name for path in home.iterdir()} >= {"trainer.log", "result.json", "events.jsonl"}, home
        assert seconds < within_s, self.output
        return manifest

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def stand_in(lab: Lab) -> dict[str, str]:
    """The environment of a trainer that trains nothing, and makes an epoch a second of the records."""
    for board in (1, 2):
        lab.root(board, "mkdir -p /srv/standin")
        source = PROJECT / "benchmarks/lab/standin/sitecustomize.py"
        lab.write(board, "/srv/standin/sitecustomize.py", source.read_bytes(), "644")
    return {"PYTHONPATH": "/srv/standin"}


def slowly(lab: Lab, boards: Sequence[int] = (1, 2)) -> dict[str, str]:
    """The environment of a trainer that sleeps after every step: a run lasts, and leaves the cores to others."""
    code = "import pathlib, time\ntouch = pathlib.Path.touch\n"
    code += "pathlib.Path.touch = lambda *path, **how: (time.sleep(0.25), touch(*path, **how))[1]\n"
    for board in boards:
        lab.root(board, "mkdir -p /srv/slowly")
        lab.write(board, "/srv/slowly/sitecustomize.py", code.encode(), "644")
    return {"PYTHONPATH": "/srv/slowly"}


@pytest.fixture
def start(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts a run; after the test nothing of it may be left on a board."""
    begun: list[Run] = []

    def begin(override: dict = LASTING, **variables: object) -> Run:
        runs = tmp_path / f"{len(begun)}/runs"
        runs.mkdir(parents=True)
        begun.append(Run(lab, runs, override, **variables))
        return begun[-1]

    try:
        yield begin
        assert [left_on(lab, board) for board in (1, 2)] == ["", ""]
    finally:
        for run in begun:
            run.kill()
        playbook(lab, "stop")  # so that the next row begins with clean boards, whatever became of this one
        for board in (1, 2):
            lab.ssh(board, f"rm -rf {RUNS}/* /dev/shm/*.tar.gz", user="root")


def left_on(lab: Lab, board: int) -> str:
    """What a run should not leave on a board: folder, lock, archive, job file, process, mount."""
    script = f"ls -A {RUNS} /dev/shm ~/.ansible_async 2>/dev/null | grep -v -e :$ -e ^$; pgrep -af '[m] trainer'"
    return lab.ssh(board, f"{script}; grep {RUNS} /proc/mounts")


def playbook(lab: Lab, name: str, **variables: object) -> Outcome:
    # it may follow a run for minutes, on a machine that is busy with other tests
    return lab.ansible("ansible-playbook", f"playbooks/{name}.yml", "-e", json.dumps(variables), limit_s=540)


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Notes a row of the table that `make faults` prints, once it is shown."""
    return lambda fault, shown: record_property("fault", (fault, shown))


@pytest.mark.parametrize("board", [2, pytest.param(1, marks=pytest.mark.thorough)], ids=["worker", "chief"])
def test_a_killed_trainer(lab: Lab, start, row, board: int) -> None:
    run = start(train_environment=stand_in(lab))
    run.wait_for_epochs()
    run.lab.ssh(board, f"kill -9 {run.trainer(board)}")
    manifest = run.failed(culprit=f"board-{board}", kind="killed", within_s=30)
    other = manifest["boards"][2 - board]
    assert f"stopped, because board-{board} failed" in other["cause"]
    row(f"{'chief' if board == 1 else 'worker'} killed -9", manifest["cause"])


@pytest.mark.thorough
def test_a_stopped_trainer(start, row) -> None:
    run = start(train_stall_limit_s=STALL_LIMIT_S)
    run.wait_for_epochs()
    run.lab.ssh(2, f"kill -STOP {run.trainer(2)}")
    manifest = run.failed(culprit="board-2", kind="stopped", within_s=STALL_LIMIT_S + 15)
    row("trainer stopped (SIGSTOP) on one board", manifest["cause"])


@pytest.mark.thorough
def test_a_worker_that_never_starts(lab: Lab, start, row) -> None:
    good = '#!/bin/sh\nexec /opt/cluster-kit/venv/bin/python "$@"\n'
    for board, script in ((1, good), (2, "#!/no/such/interpreter\n")):
        lab.ssh(board, f"printf '{script}' > /tmp/python; chmod +x /tmp/python")
    begin = time.monotonic()
    run = start(kit_python="/tmp/python")
    assert run.end() != 0
    assert time.monotonic() - begin < 60
    assert (run.manifest["culprit"], run.manifest["cause_kind"]) == ("board-2", "never_started"), run.output
    assert (run.folder / "boards/board-1/trainer.log").exists()
    row("a worker that never starts (broken interpreter)", run.manifest["cause"])


@pytest.fixture
def cut(lab: Lab) -> Iterator[Callable[[], None]]:
    """Cuts the training network between the boards; ssh from the controller goes on."""
    peer = lab.address(1)
    chains = "\\n".join(
        f"chain {hook} {{\\n type filter hook {hook} priority 0;\\n ip {end} {peer} drop\\n}}"
        for hook, end in (("input", "saddr"), ("output", "daddr"))
    )

    def apply() -> None:
        refused = lab.ssh(2, f"printf 'table inet cut {{\\n{chains}\\n}}\\n' | nft -f -", user="root")
        assert refused == ""

    yield apply
    lab.ssh(2, "nft delete table inet cut", user="root")


@pytest.mark.thorough
def test_a_link_that_is_down_for_good(start, cut, row) -> None:
    run = start()
    run.wait_for_epochs()
    cut()
    code = run.end()
    assert code != 0 and run.manifest["cause_kind"] == "network", run.output
    assert "the network between board-" in run.manifest["cause"]
    assert {"board-1", "board-2"} <= set(run.manifest["cause"].replace(":", " ").replace(",", " ").split())
    assert all((run.folder / f"boards/board-{n}/trainer.log").exists() for n in (1, 2))
    row("link down for good", run.manifest["cause"])


@pytest.mark.thorough
def test_a_disk_that_fills(lab: Lab, start, row) -> None:
    # a disk of its own in the board's mount namespace: this machine's must not fill
    lab.ssh(2, f"mkdir -p {RUNS}; mount -t tmpfs -o size=2m,mode=1777 full {RUNS}", user="root")
    try:
        run = start()
        run.wait_for_epochs()
        print(lab.ssh(2, f"dd if=/dev/zero of={RUNS}/fill bs=1k", user="root"))
        manifest = run.failed(culprit="board-2", kind="disk_full", within_s=60)
    finally:
        lab.ssh(2, f"umount -l {RUNS}", user="root")
    for board in (1, 2):
        lines = (run.folder / f"boards/board-{board}/events.jsonl").read_text().splitlines()
        assert all(json.loads(line) for line in lines)
    row("disk full on a board", manifest["cause"])


@pytest.mark.thorough
def test_a_loss_that_is_no_number(start, row) -> None:
    run = start({**LASTING, "optimizer": {"learning_rate": 1e38}})
    assert run.end() != 0
    assert run.manifest["cause_kind"] == "nan" and "the loss is" in run.manifest["cause"], run.output
    row("NaN loss", run.manifest["cause"])


def test_a_port_that_a_stale_trainer_holds(lab: Lab, start, row) -> None:
    listen = f"import socket, time; s = socket.create_server(('{lab.address(2)}', 12345)); time.sleep(600)"
    command = f'setsid /opt/cluster-kit/venv/bin/python -c "{listen}" -m trainer --config stale >/dev/null 2>&1 &'
    pid = lab.ssh(2, f"{command} echo $!")
    try:
        run = start()
        assert run.end() != 0
        assert "board.port" in run.output and f"pid {pid}" in run.output, run.output
        assert list((run._runs).iterdir()) == []
    finally:
        lab.ssh(2, f"kill {pid}")
    row("port held by a stale trainer", f"refused by the check stage, which names pid {pid}")


def test_ctrl_c_stops_the_boards_and_collects(lab: Lab, start, row) -> None:
    run = start(train_environment=stand_in(lab))
    run.wait_for_epochs()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end() != 0
    assert run.manifest["status"] == "interrupted" and "stopped from the controller" in run.manifest["cause"]
    assert all((run.folder / f"boards/board-{n}/trainer.log").exists() for n in (1, 2))
    row("Ctrl-C", run.manifest["cause"])


@pytest.mark.thorough
def test_a_second_ctrl_c_leaves_at_once(lab: Lab, start, row) -> None:
    run = start()
    run.wait_for_epochs()
    os.killpg(run.process.pid, signal.SIGINT)
    run.wait_until(lambda: "Press Ctrl-C again to quit at once" in run.output, "the answer to the first Ctrl-C")
    begin = time.monotonic()
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.end(30) != 0
    seconds = time.monotonic() - begin
    assert seconds < 10 and not (run.folder / "manifest.json").exists()
    assert playbook(lab, "stop").ok
    collected = playbook(lab, "collect", run_id=run.folder.name, run_config_runs_dir=str(run.folder.parent))
    assert run.manifest["status"] in ("interrupted", "failed"), collected.output
    assert all((run.folder / f"boards/board-{n}/trainer.log").exists() for n in (1, 2))
    row("Ctrl-C twice", f"left after {seconds:.1f} s; playbooks/stop.yml and collect.yml do the rest")


@pytest.mark.timeout(1200)  # it takes a run of many epochs to its end
def test_a_killed_controller_and_what_runs_meanwhile(lab: Lab, start, row, tmp_path: Path) -> None:
    """One run that much happens to, and that all boards finish."""
    staged = "/opt/cluster-kit/assets"
    before = lab.ssh(2, f"sha256sum {staged}/*").split()
    assert lab.ssh(2, f"for file in {staged}/*; do printf x >> $file; done") == "", "no run before staged anything"
    epochs = 60
    run = start({**LASTING, "epochs": epochs}, train_environment=slowly(lab))
    run.wait_for_epochs()
    sums = lab.ssh(2, f"sha256sum {staged}/*").split()
    asset = json.loads((run.folder / "run.json").read_text())["assets"]["dataset"]
    assert asset["sha256"] in sums and asset["sha256"] in before
    row("corrupt staged data", "found by checksum before training, and staged again")

    second = start()
    assert second.end() != 0
    assert run.folder.name in second.output and "board.lock" in second.output, second.output
    row("second run at the same time", f"refused: {run.folder.name} has the boards; that one goes on")

    switch = next(owner.pid for owner in lab.processes() if "interface" in owner.part)
    port = f"port{int.from_bytes(bytes(map(int, lab.address(2).split('.'))), 'big') & 0xFFFF}"
    for state, seconds in (("down", 3), ("up", 0)):
        subprocess.run(["nsenter", f"--net=/proc/{switch}/ns/net", "ip", "link", "set", port, state], check=True)
        time.sleep(seconds)
    run.wait_for_epochs()
    row("link down 3 s and back", "survived")

    lab.ssh(2, "pkill sshd", user="root")  # the open connection, too
    time.sleep(5)
    assert lab.up().ok
    run.wait_for_epochs()
    row("sshd of a board dies and comes back", "the run goes on, and is followed again")

    # a thread for each collective of the last minutes would be thousands, and the machine has 32,768 for all
    assert int(lab.root(1, "ls /proc/$(pgrep -f 'm [t]rainer --config')/task | wc -l")) < 500

    os.kill(run.process.pid, signal.SIGKILL)
    run.end()
    collected = playbook(lab, "collect", run_id=run.folder.name, run_config_runs_dir=str(run._runs))
    assert collected.ok, collected.output
    assert run.manifest["status"] == "succeeded"
    row("kill -9 of the controller", "the boards finish, playbooks/collect.yml has the logs")

    torn = tmp_path / "torn"
    shutil.copytree(run.folder, torn)
    with (torn / "boards/board-1/events.jsonl").open("a") as file:
        file.write('{"event": "win')
    (torn / "boards/board-2/result.json").unlink()
    loaded = load([torn])
    assert len(loaded.epochs) == 2 * epochs
    assert any("not a record" in problem for problem in loaded.problems), loaded.problems
    assert any("result.json of board-2 is missing" in problem for problem in loaded.problems), loaded.problems
    row("torn last line, missing result.json", "; ".join(problem.split(": ", 1)[1] for problem in loaded.problems[:2]))


@pytest.mark.thorough
def test_stopping_whatever_runs(lab: Lab, start) -> None:
    run = start()
    run.wait_for_epochs()
    stopped = playbook(lab, "stop")
    assert stopped.ok and run.folder.name in stopped.output, stopped.output
    assert run.end() != 0
    assert run.manifest["status"] == "interrupted", run.output
