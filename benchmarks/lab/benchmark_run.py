"""A benchmark run: emulated boards for the time of a benchmark, and runs on them, one after the other."""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from analysis.runs.provenance import git_state
from trainer.contract.layout import run_folders, write_json

PROJECT = Path(__file__).resolve().parents[2]
RUNS = PROJECT / "runs"
# the controller polls rarely, since it shares cores with the boards
_POLL_S = 15
_LAB_UP = "playbooks/lab_up.yml"
_USED = 0.9  # of the core on which boards take turns; the rest is the kernel's, which moves their bytes
# found on boards that take turns: an exchange takes as much longer as computing, but not exactly
_CALIBRATION = PROJECT / ".cache/lab_calibration_turns.json"
_PROBE_RATE = 120_000_000  # bit/s; near the paper's ratio with images of 64x64
_PLAIN_CALIBRATION = PROJECT / ".cache/lab_calibration.json"  # of boards with cores of their own
EXPERIMENT = "benchmark"  # the preset


class BenchmarkError(Exception):
    """A playbook failed; the message has the end of its output."""


class BenchmarkRun:
    """The lab, which is up within a `with` block, and its measurements."""

    def __init__(
        self,
        name: str,
        boards: int = 2,
        hosts: dict[str, dict[str, Any]] | None = None,
        turns: bool = False,
        **lab: Any,
    ) -> None:
        """`lab` are variables of the role lab for the whole benchmark run, `hosts` those of single boards.

        With `turns`, boards take turns of some milliseconds on one core, each with its share of it (an equal one,
        unless `hosts` has them), and all else runs on the other cores: boards on two cores slow each other down at the
        memory, which real ones do not share.
        """
        self.name, self._boards, self._hosts = name, boards, hosts
        self._lab = {"lab_calibration_file": str(_PLAIN_CALIBRATION), "lab_probe_rate": _PROBE_RATE, **lab}
        self._cores = self._others = os.sched_getaffinity(0)
        if turns:
            self._cores = {max(self._cores)}
            self._others = self._others - self._cores or self._cores
            shares = {} if hosts else {"lab_core_share": self.core_share}  # it would override those of single boards
            self._lab = {**shares, "lab_calibration_file": str(_CALIBRATION), "lab_probe_rate": _PROBE_RATE, **lab}
        self.runs = RUNS / f"bench-{name}"
        self.rows: list[dict[str, Any]] = []
        self._began = datetime.datetime.now(datetime.UTC)

    def __enter__(self) -> BenchmarkRun:
        self.runs.mkdir(parents=True, exist_ok=True)
        if self._hosts:
            write_json(self._own_inventory, {"boards": {"hosts": self._hosts}})
        try:
            self.link(None)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.playbook("playbooks/lab_down.yml")

    @property
    def path(self) -> Path:
        """The file that `write` writes."""
        return RUNS / f"bench-{self.name}.json"

    @property
    def core_share(self) -> float:
        """Each board's fraction of the core on which boards take turns."""
        return round(_USED / self._boards, 4)

    @property
    def _own_inventory(self) -> Path:
        return self.runs / "hosts.json"

    def link(self, rate: str | None) -> None:
        """Give every link this rate, in tc's syntax; None: the calibrated one, found first if it is not known."""
        chosen: dict[str, Any] = {} if rate is None else {"lab_link_rate": rate}
        self.playbook(_LAB_UP, lab_boards=self._boards, **self._lab, **chosen)

    def calibration(self) -> dict[str, Any]:
        """What the lab's calibration found for these boards: link_rate_bit_per_s, core_share, ratio, step_s, ..."""
        path = Path(self._lab["lab_calibration_file"])
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def run(
        self,
        workers: int,
        override: dict[str, Any],
        seed: int = 1,
        limit: str = "all",
        environment: dict[str, str] | None = None,
        **variables: Any,
    ) -> Path:
        """Run an experiment; returns the run's folder. `environment` is Ansible's, in addition."""
        before = run_folders(self.runs.iterdir())
        self.playbook(
            "playbooks/run_experiment.yml",
            limit,
            environment,
            workers=workers,
            seed=seed,
            override=override,
            run_config_runs_dir=str(self.runs),
            **{"train_poll_s": _POLL_S, **variables},
        )
        (made,) = set(run_folders(self.runs.iterdir())) - set(before)
        return made

    def playbook(
        self, path: str, limit: str = "all", environment: dict[str, str] | None = None, **variables: Any
    ) -> None:
        """Run a playbook on the lab, or on those of its boards; notes when that began, and the seconds of a core that
        the controller's processes took. Raises BenchmarkError where it fails.
        """
        self.command_began_s = time.time()
        cores = self._cores if path == _LAB_UP else self._others  # lab_up assigns the boards to its own cores
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [
                *("taskset", "--cpu-list", ",".join(map(str, sorted(cores)))),
                Path(sys.executable).parent / "ansible-playbook",
                *("-i", "inventory/lab"),
                *(("-i", self._own_inventory) if self._hosts else ()),
                path,
                "--limit",
                f"{limit},localhost",
                "-e",
                json.dumps({"experiment": EXPERIMENT, **variables}),
            ],
            cwd=PROJECT,
            env={
                **os.environ,
                "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),
                "ANSIBLE_NOCOLOR": "1",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.command_cpu_s = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
        if done.returncode:
            raise BenchmarkError(f"{path} {variables} failed:\n{(done.stdout + done.stderr)[-3000:]}")

    def write(self, **more: Any) -> Path:
        """Write runs/bench-NAME.json: the machine, the commit, `more`, and the rows so far."""
        path = self.path
        commit, changed = git_state(PROJECT)
        write_json(
            path,
            {
                "benchmark": self.name,
                "emulated": True,
                "machine": _machine(),
                "git_commit": commit,
                "git_dirty": bool(changed),
                "git_changed": changed,
                "began": self._began.isoformat(timespec="seconds"),
                "ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                **more,
                "rows": self.rows,
            },
        )
        return path


def _machine() -> dict[str, Any]:
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
