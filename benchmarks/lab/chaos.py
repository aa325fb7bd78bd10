"""Goodput of three boards to which faults happen at random times: on_board_loss continue beside stopping and resuming.

Goodput is the share of the time in which living boards could train and did, with steps that counted in the end. A
board counts as living except while its link is down or it boots. The kit answers for the rest: the time to notice a
fault, to decide, to start TensorFlow again, and to repeat steps. What stopping and resuming costs is measured on
runs that stop: from a killed trainer until all boards are ready again, where nobody hesitates to resume, and the steps
that are made again. Rarer faults are a model: goodput = mean time between faults / (that time + the cost of a fault).
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.lab.benchmark_run import PROJECT, BenchmarkError, BenchmarkRun
from benchmarks.lab.faults import BOARD_KILLED, LINK, LINK_S, REBOOT, STOPPED, TRAINER_KILLED, Board, Fault, schedule
from benchmarks.lab.goodput import Interval, cost_s, modelled, outcome
from trainer.contract.events import Checkpoint, Resume, Start, Window
from trainer.contract.layout import ATTEMPTS, BOARDS, EVENTS, MANIFEST, run_folders
from trainer.contract.records import begins_at, counted, read_records

BOARDS_COUNT = 3
_USED = 0.85  # of the machine's cores; the rest is the controller's
_LINK = "1gbit"
_STEPS = 100  # of a board in an epoch
_COMMON: dict[str, Any] = {
    "epochs": 10_000,  # the benchmark ends them
    "window_steps": 5,
    "checkpoint_steps": 50,
    "data": {"train_images": 64 * _STEPS * BOARDS_COUNT, "validation_images": 64 * BOARDS_COUNT, "sharding": "sharded"},
    "sync": {"method": "local_sgd", "period": 5},
}
_LONGER = (30 * 60.0, 2 * 3600.0, 8 * 3600.0)  # seconds between faults, for the model
_PERSON_S = 15 * 60.0  # until a person resumes a run, in the model's last column
_START_LIMIT_S = 600.0
_AFTER_S = 18.0  # from a checkpoint to the fault of a run that is resumed: half of the time between two


def measure(means: Sequence[float], minutes: float, seed: int, count: int) -> Path:
    """`count` runs that are resumed, and one for each mean number of minutes between faults; the file written."""
    share = round(min(1.0, _USED * len(os.sched_getaffinity(0)) / BOARDS_COUNT), 2)
    with BenchmarkRun("chaos", boards=BOARDS_COUNT, lab_core_share=share, lab_link_rate=_LINK) as bench:
        resumes: list[dict[str, float]] = []
        for number in range(count):
            resumes.append(_resume(bench, seed + number))
            print(f"stopped and resumed: {resumes[-1]['cost_s']:.0f} s", flush=True)
        for mean in means:
            bench.rows.append({"boards": BOARDS_COUNT, **_chaos(bench, seed, 60 * mean, 60 * minutes)})
            path = bench.write(core_share=share, link_rate_bit_per_s=10**9, configuration=_COMMON, resumes=resumes)
            print(table(json.loads(path.read_text(encoding="utf-8"))), flush=True)
    return path


class _Started:
    """A playbook that trains, in the background."""

    def __init__(self, bench: BenchmarkRun, play: Callable[[], object], folder: Path | None = None) -> None:
        """`folder`: of the run, if it is known."""
        self._bench, self._folder, self._before = bench, folder, set(run_folders(bench.runs.iterdir()))
        self._pool = ThreadPoolExecutor(max_workers=1)
        self.began_s = time.time()
        self._work: Future[object] = self._pool.submit(play)

    @property
    def ended(self) -> bool:
        return self._work.done()

    @property
    def folder(self) -> Path:
        """The run's folder. Raises BenchmarkError if the playbook ended without one."""
        while self._folder is None:
            made = set(run_folders(self._bench.runs.iterdir())) - self._before
            if made:
                (self._folder,) = made
            elif self.ended:
                raise BenchmarkError(f"no run began: {self._work.exception()}")
            else:
                time.sleep(0.5)
        return self._folder

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The records of each board as far as they have been copied."""
        found = {}
        for board in _names():
            with contextlib.suppress(OSError):
                found[board] = read_records(self.folder / BOARDS / board / EVENTS)[0]
        return found

    def ready_s(self, kind: str) -> float:
        """When the slowest board was ready to train, by its record of this kind since the playbook began; waits for it.

        Raises BenchmarkError where the playbook ends before, or that takes too long.
        """
        deadline = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < deadline and not self.ended:
            by_board = [
                [it["time_s"] for it in records if it["event"] == kind and it["time_s"] > self.began_s]
                for records in self.records().values()
            ]
            if len(by_board) == BOARDS_COUNT and all(by_board):
                return float(max(times[0] for times in by_board))
            time.sleep(1)
        why = self._work.exception() if self.ended else f"not in {_START_LIMIT_S:.0f} s"
        raise BenchmarkError(f"the boards did not begin to train: {why}")

    def wait_for(self, kind: str, count: int) -> None:
        """Wait until every board has `count` records of this kind, or the run has ended."""
        while not self.ended:
            counts = [sum(it["event"] == kind for it in records) for records in self.records().values()]
            if len(counts) == BOARDS_COUNT and min(counts) >= count:
                return
            time.sleep(1)

    def stop(self) -> None:
        """Stop the run on all boards, and wait until its logs are here."""
        while not self.ended:
            with contextlib.suppress(BenchmarkError):  # a board that is booting is stopped the next time
                self._bench.playbook("playbooks/stop.yml")
            time.sleep(5)
        self.wait()

    def wait(self) -> None:
        """Wait for the playbook's end, however that is."""
        with contextlib.suppress(BenchmarkError):
            self._work.result()
        self._pool.shutdown()


def _names() -> list[str]:
    return [f"board-{number}" for number in range(1, BOARDS_COUNT + 1)]


def _boards() -> list[Board]:
    return [Board(PROJECT / ".lab", name) for name in _names()]


def _started(bench: BenchmarkRun, seed: int, **override: Any) -> _Started:
    """A run that looks at its boards often: it is the controller who starts dead supervisors again."""
    return _Started(bench, lambda: bench.run(BOARDS_COUNT, {**_COMMON, **override}, seed=seed, train_poll_s=3))


def _resume(bench: BenchmarkRun, seed: int) -> dict[str, float]:
    """What it costs that a run stops by a killed trainer and is resumed at once: seconds, and those of lost steps."""
    run = _started(bench, seed, on_board_loss="stop")
    run.ready_s(Start.KIND)
    run.wait_for(Checkpoint.KIND, 1)
    time.sleep(_AFTER_S)
    fault_s = time.time()
    _boards()[1].signal_trainer("KILL")
    run.wait()
    given: dict[str, Any] = {"resume": run.folder.name, "run_config_runs_dir": str(bench.runs), "run_config_given": []}
    again = _Started(
        bench, lambda: bench.playbook("playbooks/run_experiment.yml", train_poll_s=3, **given), folder=run.folder
    )
    ready_s = again.ready_s(Resume.KIND)
    again.stop()
    lost = [_lost_s(run.folder, board, again.records()[board]) for board in _names()]
    stopped_s = ready_s - fault_s
    return {"stopped_s": stopped_s, "discarded_s": statistics.mean(lost), "cost_s": stopped_s + statistics.mean(lost)}


def _lost_s(folder: Path, board: str, resumed: Sequence[Mapping[str, Any]]) -> float:
    """Seconds of a board's steps that its second attempt made again."""
    before = read_records(folder / ATTEMPTS / "1" / BOARDS / board / EVENTS)[0]
    begins = next(begins_at(it) for it in resumed if it["event"] == Resume.KIND)
    kept = {id(it) for it in counted(before, begins)}
    return float(sum(it["elapsed_s"] for it in before if it["event"] == Window.KIND and id(it) not in kept))


def _chaos(bench: BenchmarkRun, seed: int, mean_s: float, lasts_s: float) -> dict[str, Any]:
    """A run with faults; what became of it."""
    run = _started(bench, seed, on_board_loss="continue")
    begin_s = run.ready_s(Start.KIND)
    world = _World(bench)
    for fault in schedule(seed, mean_s, lasts_s, BOARDS_COUNT):
        while not run.ended and time.time() < begin_s + fault.at_s:
            time.sleep(0.5)
        if run.ended:
            break
        world.happen(fault)
    while not run.ended and time.time() < begin_s + lasts_s:
        time.sleep(0.5)
    gave_up = run.ended
    try:
        world.end()
    finally:
        run.stop()
    return {
        "run_id": run.folder.name,
        "mean_s": mean_s,
        "gave_up": gave_up,  # it ended before the benchmark did
        "faults": len(world.happened),
        "kinds": ", ".join(f"{kind} {count}" for kind, count in Counter(world.happened).items()),
        **outcome(run.records(), world.down, begin_s, begin_s + lasts_s),
        "status": json.loads((run.folder / MANIFEST).read_text(encoding="utf-8"))["status"],
    }


class _World:
    """Lets faults happen, and undoes those that pass."""

    def __init__(self, bench: BenchmarkRun) -> None:
        self._bench, self._boards = bench, _boards()
        self._pool = ThreadPoolExecutor(max_workers=16)
        self._work: list[Future[None]] = []
        self._repairs = threading.Lock()  # one cable or boot at a time: lab_up looks at all boards
        self._away: set[str] = set()
        self.down: dict[str, list[Interval]] = {board.name: [] for board in self._boards}
        self.happened: list[str] = []  # kinds

    def happen(self, fault: Fault) -> None:
        """Begin a fault, on the next board that is up."""
        order = self._boards[fault.board :] + self._boards[: fault.board]
        board = next((it for it in order if it.name not in self._away), None)
        if board is None:
            return
        print(f"  {fault.at_s:.0f} s: {fault.kind}, {board.name}", flush=True)
        if fault.kind in (LINK, REBOOT):
            self._away.add(board.name)
        self._work.append(self._pool.submit(self._do, fault.kind, board))

    def end(self) -> None:
        """Wait until all is undone. Raises what went wrong with it."""
        for work in self._work:
            work.result()
        self._pool.shutdown()

    def _do(self, kind: str, board: Board) -> None:
        if kind == LINK:
            with self._repairs:
                begin_s = time.time()
                board.set_link("down")
                time.sleep(LINK_S)
                board.set_link("up")
                self._back(board, begin_s)
        elif kind == REBOOT:
            begin_s = time.time()
            board.cut_power()
            with self._repairs:
                self._bench.link(None)  # the calibrated rate again
                board.wait_for_ssh()
                self._back(board, begin_s)
        elif kind in (TRAINER_KILLED, STOPPED):
            board.signal_trainer("KILL" if kind == TRAINER_KILLED else "STOP")
        else:
            board.kill_both() if kind == BOARD_KILLED else board.kill_supervisor()
        self.happened.append(kind)

    def _back(self, board: Board, begin_s: float) -> None:
        self.down[board.name].append((begin_s, time.time()))
        self._away.discard(board.name)


def table(result: dict[str, Any]) -> str:
    """Goodput by mean time between faults, as a table in Markdown: measured, then by the model."""
    rows, resume_s = result["rows"], statistics.mean(row["cost_s"] for row in result["resumes"])
    lines = [
        "| mean time between faults | from | faults | generations | goodput | stop, and resume at once | stop, and "
        f"resume after {_time(_PERSON_S)} |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    with_faults = [row for row in rows if row["faults"] and row["goodput"]]
    fault_s = cost_s(with_faults) if with_faults else None
    cells: list[tuple[float, str]] = []
    for row in rows:
        early = " (the run ended early)" if row["gave_up"] else ""
        cells.append((row["mean_s"], f"the lab | {row['faults']} | {row['generations']} | {row['goodput']:.3f}{early}"))
    if fault_s is not None:
        cells += [(mean_s, f"the model | | | {modelled(mean_s, fault_s):.3f}") for mean_s in _LONGER]
    for mean_s, told in sorted(cells):
        stopped = (f"{modelled(mean_s, cost):.3f}" for cost in (resume_s, resume_s + _PERSON_S))
        lines.append(f"| {_time(mean_s)} | {told} | {' | '.join(stopped)} |")
    still_s = statistics.mean(row["stopped_s"] for row in result["resumes"])
    lines += [
        "",
        f"Runs in the lab lasted {_time(statistics.mean(row['lasts_s'] for row in rows))} each. "
        + " ".join(f"Faults every {_time(row['mean_s'])}: {row['kinds'] or 'none'}." for row in rows)
        + ("" if fault_s is None else f" A fault cost {fault_s:.0f} s of the boards' time on average.")
        + f" Stopping and resuming at once cost {resume_s:.0f} s, of which no board trained for {still_s:.0f} s "
        f"(mean of {len(result['resumes'])} runs whose trainer was killed). Checkpoints every "
        f"{result['configuration']['checkpoint_steps']} steps took {_share(rows):.2%} of the steps' time on the board "
        "that waited least for the others' average before.",
    ]
    return "\n".join(lines)


def _share(rows: Sequence[Mapping[str, Any]]) -> float:
    """The part of the steps' time for which checkpoints stalled them; mean over the runs."""
    return float(statistics.mean(row["checkpoints_share"] for row in rows))


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds / 60:.3g} min"
