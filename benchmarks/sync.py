"""Images a second of two boards with each way of synchronising, against one board and against PyTorch's DDP.

All in one sitting, in random order, repeated; at the paper's ratio of communication to computation and at 1 Gbit/s.
Every variant trains the same model (all layers, 64x64, batch 64 on each board, sharded images). What is timed is the
steady state: neither the first steps, which trace, nor the last ones, in which local SGD waits for its final average.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.calibrate import wire_bytes
from benchmarks import ddp
from benchmarks.sitting import Sitting, calibration, windows

BATCH, WINDOW_STEPS = 64, 8


@dataclass(frozen=True)
class Variant:
    """One thing to measure."""

    engine: str  # tensorflow or pytorch
    sync: str  # as it is called in tables
    boards: int
    fields: dict[str, Any]  # of config.sync, or DDP's hook
    skip: int = 2 * WINDOW_STEPS  # steps before the timed ones
    timed: int = 2 * WINDOW_STEPS
    tail: int = WINDOW_STEPS  # steps after them


def _local(period: int) -> Variant:
    # the first average is traced while the steps after it are made
    skip = (period // WINDOW_STEPS + 1) * WINDOW_STEPS
    fields = {"way": "local_sgd", "period": period}
    return Variant("tensorflow", f"local_sgd, period {period}", 2, fields, skip, max(64, 2 * period))


VARIANTS = [
    Variant("tensorflow", "none", 1, {}, timed=4 * WINDOW_STEPS),
    Variant("tensorflow", "keras", 2, {"way": "keras"}),
    Variant("tensorflow", "allreduce, float32", 2, {"way": "allreduce", "gradient_dtype": "float32"}),
    Variant("tensorflow", "allreduce, float16", 2, {"way": "allreduce", "gradient_dtype": "float16"}),
    Variant("tensorflow", "powersgd, rank 4", 2, {"way": "powersgd", "rank": 4}, timed=4 * WINDOW_STEPS),
    _local(16),
    _local(32),
    *(
        Variant("pytorch", hook, boards, {"hook": hook}, timed=4 * WINDOW_STEPS, tail=0)
        for hook, boards in ddp.HOOKS.items()
    ),
]


def measure(repeats: int, seed: int, only: str) -> Path:
    """Run all variants whose name has one of the texts in `only` (separated by +); returns the file written."""
    chosen = [
        variant for variant in VARIANTS if any(text in f"{variant.engine} {variant.sync}" for text in only.split("+"))
    ]
    order = random.Random(seed)
    with Sitting("sync", lab_more_envs={ddp.ON_BOARD: str(ddp.environment())}) as sitting:
        links = {"paper's ratio": calibration()["link_rate_bit_per_s"], "1 Gbit/s": 1_000_000_000}
        for repeat in range(1, repeats + 1):
            for link, rate in links.items():
                sitting.link(f"{rate}bit")
                for variant in order.sample(chosen, len(chosen)):
                    row = _measured(sitting, variant)
                    row = {"link": link, "link_rate_bit_per_s": rate, "repeat": repeat, **row}
                    sitting.rows.append(row)
                    print(
                        f"{repeat}  {link:14} {variant.engine:10} {variant.sync:22} {row['images_per_s']:7.1f} images/s"
                    )
                    path = sitting.write(calibration=calibration(), seed=seed, summary=[])
        path = sitting.write(calibration=calibration(), seed=seed, summary=summary(sitting.rows))
    print(table(json.loads(path.read_text(encoding="utf-8"))))
    return path


def _measured(sitting: Sitting, variant: Variant) -> dict[str, Any]:
    identity = {"engine": variant.engine, "boards": variant.boards, "sync": variant.sync}
    steps = variant.skip + variant.timed + variant.tail
    if variant.engine == "pytorch":
        return {**identity, **ddp.run(sitting, variant.fields["hook"], variant.boards, variant.skip, variant.timed)}
    folder = sitting.run(
        variant.boards,
        {
            "epochs": 1,
            "batch_size": BATCH,
            "window_steps": WINDOW_STEPS,
            "data": {"sharding": "sharded", "train_images": steps * BATCH * variant.boards, "validation_images": 64},
            "sync": variant.fields,
        },
    )
    rows = windows(folder, variant.skip, variant.tail)
    steps = sum(row["steps"] for row in rows)
    seconds = sum(row["elapsed_s"] for row in rows)
    waiting = [row["waiting_s"] for row in rows]
    payload = sum(row["payload_bytes"] for row in rows) / steps
    return {
        **identity,
        "images_per_s": variant.boards * sum(row["images"] for row in rows) / seconds,
        "step_s": seconds / steps,
        "compute_s": sum(row["compute_s"] for row in rows) / steps,
        "communication_s": sum(row["communication_s"] for row in rows) / steps,
        "waiting_s": None if pd.isna(waiting).any() else sum(waiting) / steps,
        "overlapped_s": sum(row["overlapped_s"] for row in rows) / steps,
        "sent_bytes_per_step": sum(row["sent_bytes"] for row in rows) / steps,
        "expected_bytes_per_step": wire_bytes(round(payload), variant.boards),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per variant and link: median, least and greatest images_per_s, and the speed-up of the medians against
    one board of the same engine at the same link; the speed-up of the least and the greatest against that median."""
    found: list[dict[str, Any]] = []
    for (link, engine), group in pd.DataFrame(rows).groupby(["link", "engine"], sort=False):
        alone = group[group["boards"] == 1]["images_per_s"].median()
        for sync, runs in group.groupby("sync", sort=False):
            speeds = runs["images_per_s"]
            sent, expected = runs["sent_bytes_per_step"].median(), runs.get("expected_bytes_per_step")
            found.append(
                {
                    "engine": engine,
                    "boards": int(runs["boards"].iloc[0]),
                    "link": link,
                    "sync": sync,
                    "repeats": len(runs),
                    "images_per_s": speeds.median(),
                    "images_per_s_min": speeds.min(),
                    "images_per_s_max": speeds.max(),
                    "speedup": _known(speeds.median() / alone),
                    "speedup_min": _known(speeds.min() / alone),
                    "speedup_max": _known(speeds.max() / alone),
                    "sent_bytes_per_step": sent,
                    "expected_bytes_per_step": None if expected is None else _known(expected.median()),
                }
            )
    return sorted(
        found, key=lambda row: (row["link"], row["engine"] != "tensorflow", row["boards"], row["images_per_s"])
    )


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown."""
    lines = [
        "| link | engine | boards | sync | images/s (least to greatest) | speed-up | MB sent per step and board |",
        "|---|---|--:|---|--:|--:|--:|",
    ]
    for row in result["summary"]:
        speedup = "" if row["speedup"] is None else f"{row['speedup']:.2f}"
        lines.append(
            f"| {row['link']} | {row['engine']} | {row['boards']} | {row['sync']} | {row['images_per_s']:.1f} "
            f"({row['images_per_s_min']:.1f} to {row['images_per_s_max']:.1f}) | {speedup} | "
            f"{row['sent_bytes_per_step'] / 1e6:.2f} |"
        )
    return "\n".join(lines)


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
