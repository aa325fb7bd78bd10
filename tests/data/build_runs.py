"""Run folders as the kit leaves them, written through trainer's own records: they cannot drift."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.runs.manifest import write_manifest
from trainer.contract.config import parse, to_dict
from trainer.contract.events import End, Epoch, Sample, Start, Trial, Validation, Window
from trainer.contract.layout import CLOCK, TELEMETRY, write_json
from trainer.contract.records import EventLog
from trainer.contract.results import Result
from trainer.contract.run import Run, load_run

PARAMETERS = 2_931_044  # trainable, of the paper's model
FACTS: dict[str, Any] = {
    "hostname": "board",
    "machine": "x86_64",
    "cores": 1,
    "memory_bytes": 8 * 2**30,
    "python": "3.8.18",
    "tensorflow": "2.12.1",
    "jetpack": None,
    "module": None,
    "interface": "eth0",
    "emulated": True,
    "link_rate_bit_per_s": 120_000_000,
}
STEPS = 8  # of an epoch; two windows
BATCH = 64
STARTED_S = 1_735_689_600.0  # the controller's clock


def build_run(
    parent: Path,
    run_id: str = "",
    *,
    workers: int = 1,
    seed: int = 1,
    step_s: float = 0.4,
    epochs: int = 3,
    accuracy: Sequence[float] = (0.1, 0.2, 0.3),
    loss: Sequence[float] = (4.0, 3.0, 2.0),
    boards: Sequence[str] = (),
    override: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    dataset_sha256: str = "d" * 64,
    trainer_sha256: str = "a" * 64,
    synthetic: bool = True,
    failed: Mapping[int, str] | None = None,
    manifest: bool = True,
    task: str = "train",
    slower: Mapping[int, float] | None = None,
    power_w: float | None = None,
    ahead_s: Mapping[int, float] | None = None,
    speeds: Sequence[float] | None = None,
) -> Path:
    """One run's folder. Steps of the first epoch take three times as long, as tracing makes them.

    `failed`: cause by rank of the boards whose worker failed; rank 0 ends first. `slower`: by rank, how many times as
    long as the others a board computes (below 1.5, so that it still communicates). `power_w`: of a board while it
    trains, sampled each second, with temperatures; null: no sensors, no telemetry. `ahead_s`: by rank, of the boards'
    clocks, which are then measured. `speeds`: of the boards, as an inventory gives them.
    """
    run_id = run_id or f"20250101T000000Z-test-w{workers}-s{seed}"
    names = list(boards) or [f"board-{rank + 1}" for rank in range(workers)]
    data = {"source": "synthetic", **(override or {}).get("data", {})}
    config = parse({"epochs": epochs, **(override or {}), "data": data})
    run = Run(
        run_id=run_id,
        task=task,
        experiment="test",
        workers=workers,
        seed=seed,
        boards=names,
        config=config,
        assets={"dataset": {"path": "/data", "sha256": dataset_sha256, "bytes": 1}},
        trainer_sha256=trainer_sha256,
        git_commit="c" * 40,
        git_dirty=False,
        speeds=None if speeds is None else list(speeds),
    )
    folder = parent / run_id
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {**vars(run), "config": to_dict(config)})
    for rank, name in enumerate(names):
        home = folder / "boards" / name
        home.mkdir(parents=True)
        # a third of a step of several boards communicates
        stood = 0.0 if workers == 1 else 1 - 2 / 3 * (slower or {}).get(rank, 1.0)
        log = EventLog(home / "events.jsonl")
        log.write(_start(run, rank, synthetic))
        for epoch in range(1, epochs + 1):
            seconds = step_s * (3 if epoch == 1 else 1)
            at = epoch - 1
            shown = (loss[at % len(loss)], accuracy[at % len(accuracy)])
            for window in (0, 1):
                log.write(_window(workers, epoch, window, seconds, stood * seconds, shown))
            log.write(_epoch(workers, epoch, seconds, stood * seconds, shown))
        log.write(End(epochs=epochs, train_s=STEPS * step_s * epochs, total_s=1 + STEPS * step_s))
        log.close()
        began_s = STARTED_S + 5 + (ahead_s or {}).get(rank, 0.0)
        ended_s = _set_times(home / "events.jsonl", began_s)
        if power_w is not None:
            _write_telemetry(home / TELEMETRY, began_s, ended_s, power_w)
        if ahead_s is not None:
            _write_clock(home / CLOCK, began_s, ended_s, ahead_s.get(rank, 0.0))
        cause = (failed or {}).get(rank)
        result = Result(
            status="failed" if cause else "succeeded",
            cause=cause,
            exit_code=1 if cause else 0,
            started_s=STARTED_S + rank,
            ended_s=STARTED_S + 100 + rank,
            epochs_completed=epochs,
            facts={**FACTS, "hostname": name, **(facts or {})},
        )
        write_json(home / "result.json", vars(result))
    if manifest:
        write_manifest(folder)
    return folder


def _start(run: Run, rank: int, synthetic: bool) -> Start:
    return Start(
        board=run.boards[rank],
        rank=rank,
        workers=run.workers,
        trainable_parameters=PARAMETERS,
        total_parameters=PARAMETERS + 34_112,
        gradient_bytes=4 * PARAMETERS,
        steps_per_epoch=STEPS,
        board_batch=BATCH,
        train_images=STEPS * BATCH,
        validation_images=BATCH,
        classes=100,
        synthetic=synthetic,
        sync="none" if run.workers == 1 else "keras",
        collective_asked=None if run.workers == 1 else "nccl",
        precision="float32",
        xla="none",
        cache_features_s=None,
        interface="eth0",
        startup_s=5.0,
    )


def _sent(workers: int, steps: int) -> int:
    return 0 if workers == 1 else 4 * PARAMETERS * steps


def _set_times(path: Path, began_s: float) -> float:
    """Give records the times that their durations say; returns the last one."""
    lines, time_s, epoch_began_s = [], began_s, began_s
    for line in path.read_text().splitlines():
        record = json.loads(line)
        if record["event"] == "window":
            time_s += record["elapsed_s"]
        elif record["event"] == "epoch":
            time_s = epoch_began_s = epoch_began_s + record["epoch_s"]
        lines.append(json.dumps({**record, "time_s": time_s}))
    path.write_text("".join(f"{line}\n" for line in lines))
    return time_s


def _write_telemetry(path: Path, began_s: float, ended_s: float, power_w: float) -> None:
    """A sample a second, from three before training to one after it; the board is half as busy before."""
    log = EventLog(path)
    for second in range(-3, math.ceil(ended_s - began_s) + 2):
        idle = second < 0
        watts = power_w * (0.5 if idle else 1 + 0.1 * math.sin(second))
        log.write(
            Sample(
                idle=idle,
                memory_bytes=2**30,
                cpu_load=0.1 if idle else 0.9,
                gpu_load=0.0 if idle else 0.95,
                temperature_c={"CPU": 45.0 + 10 * (1 - math.exp(-max(second, 0) / 20)), "GPU": 41.5},
                power_mw={"VDD_GPU_SOC": round(600 * watts), "VDD_CPU_CV": round(400 * watts)},
                sent_bytes=0,
                received_bytes=0,
            )
        )
    log.close()
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    timed = [{**sample, "time_s": began_s - 3 + place} for place, sample in enumerate(samples)]
    path.write_text("".join(f"{json.dumps(sample)}\n" for sample in timed))


def _write_clock(path: Path, began_s: float, ended_s: float, ahead_s: float) -> None:
    found = {"offset_s": ahead_s, "uncertainty_s": 0.002, "rounds": 8}
    write_json(path, {"start": {**found, "board_s": began_s}, "end": {**found, "board_s": ended_s}})


def _window(workers: int, epoch: int, window: int, step_s: float, stall_s: float, shown: tuple[float, float]) -> Window:
    steps = STEPS // 2
    return Window(
        epoch=epoch,
        first_step=window * steps,
        steps=steps,
        images=steps * BATCH,
        elapsed_s=steps * step_s,
        loss=shown[0],
        accuracy=shown[1],
        learning_rate=0.001,
        compute_s=steps * (step_s - stall_s),
        communication_s=steps * stall_s,
        waiting_s=0.0 if workers == 1 else None,
        overlapped_s=0.0,
        sent_bytes=_sent(workers, steps),
        received_bytes=_sent(workers, steps),
        payload_bytes=_sent(workers, steps),
    )


def _epoch(workers: int, epoch: int, step_s: float, stall_s: float, shown: tuple[float, float]) -> Epoch:
    loss, accuracy = shown
    return Epoch(
        epoch=epoch,
        steps=STEPS,
        images=STEPS * BATCH,
        train_s=STEPS * step_s,
        validation_s=0.5,
        epoch_s=STEPS * step_s + 0.5,
        loss=loss,
        accuracy=accuracy,
        val_loss=math.nan if math.isnan(loss) else loss + 0.5,
        val_accuracy=accuracy,
        learning_rate=0.001,
        communication_s=STEPS * stall_s,
        waiting_s=0.0 if workers == 1 else None,
        sent_bytes=_sent(workers, STEPS),
        received_bytes=_sent(workers, STEPS),
        payload_bytes=_sent(workers, STEPS),
    )


def build_prediction(parent: Path, *, step_s: Mapping[str, float], validation_s: float) -> Path:
    """A run of the task predict on two boards: seconds of a step by method, and of a board's validation of an epoch."""
    folder = build_run(parent, "20250101T000000Z-test-predict-w2-s1", workers=2, task="predict", epochs=1)
    payload = 4 * PARAMETERS
    for rank in (0, 1):
        home = folder / "boards" / f"board-{rank + 1}"
        (home / "events.jsonl").unlink()
        log = EventLog(home / "events.jsonl")
        log.write(_start(load_run(folder / "run.json"), rank, True))
        for cycle in (1, 2):
            for method, seconds in step_s.items():
                together = method not in ("one board", "no_sync")
                alone_and_idle = method == "one board" and rank
                stall_s = max(0.0, seconds - step_s["no_sync"]) if together else 0.0
                log.write(
                    Trial(
                        sync=method,
                        cycle=cycle,
                        steps=16,
                        images=0 if alone_and_idle else 16 * BATCH,
                        elapsed_s=16 * seconds,
                        communication_s=16 * stall_s,
                        waiting_s=None if method == "keras" else 0.0,
                        overlapped_s=0.0,
                        sent_bytes=None,
                        payload_bytes=16 * payload if together else 0,
                    )
                )
        log.write(Validation(batches=2, seconds=validation_s / 5, batches_per_epoch=10))
        log.close()
    return folder
