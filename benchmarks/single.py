"""One board: what the kit costs beside a bare Keras script of the same training, and what cached features save."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path
from typing import Any

from analysis.load import load
from benchmarks.sitting import Sitting

_COMMON = {
    "epochs": 3,
    "window_steps": 10,
    "data": {"train_images": 1920, "validation_images": 640},
}
_HEAD = {**_COMMON, "model": {"fine_tune": "head"}}
_CACHED = {**_COMMON, "model": {"fine_tune": "head", "cache_features": True}}


def measure(repeats: int, seed: int) -> Path:
    """Run all variants in random order, repeated; returns the file written."""
    order = random.Random(seed)
    with Sitting("single", boards=1, lab_link_rate="1gbit") as sitting:
        for repeat in range(1, repeats + 1):
            for variant in order.sample(["kit", "bare Keras", "head", "head, cached features"], 4):
                row = _measured(sitting, variant)
                sitting.rows.append({"variant": variant, "repeat": repeat, **row})
                print(f"{repeat}  {variant:24} {row['epoch_s']:.3f} s an epoch", flush=True)
                path = sitting.write(seed=seed, summary=summary(sitting.rows))
    print(table(json.loads(path.read_text(encoding="utf-8"))))
    return path


def _measured(sitting: Sitting, variant: str) -> dict[str, Any]:
    """epoch_s: mean of all epochs but the first, validation included; losses of all epochs."""
    if variant == "bare Keras":
        out = sitting.runs / "bare_keras.json"
        sitting.playbook("benchmarks/bare/run.yml", bare_out=str(out), bare_config=_COMMON)
        found = json.loads(out.read_text(encoding="utf-8"))
        return {"epoch_s": statistics.mean(found["epoch_s"][1:]), "losses": found["losses"]}
    override = {"kit": _COMMON, "head": _HEAD, "head, cached features": _CACHED}[variant]
    loaded = load([sitting.run(1, override)])
    epochs = loaded.epochs.sort_values("epoch")
    return {
        "epoch_s": float(epochs["epoch_s"].iloc[1:].mean()),
        "losses": epochs["loss"].tolist(),
        "cache_features_s": loaded.boards["cache_features_s"].iloc[0],
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per variant: epoch_s, median, least and greatest."""
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    seconds = {variant: [row["epoch_s"] for row in rows if row["variant"] == variant] for variant in variants}
    return [
        {"variant": variant, "epoch_s": statistics.median(of), "epoch_s_min": min(of), "epoch_s_max": max(of)}
        for variant, of in seconds.items()
    ]


def table(result: dict[str, Any]) -> str:
    """The summary as a table in Markdown, with what follows from it."""
    by_name = {row["variant"]: row for row in result["summary"]}
    lines = ["| one board | seconds an epoch (least to greatest) |", "|---|--:|"]
    lines += [
        f"| {name} | {row['epoch_s']:.3f} ({row['epoch_s_min']:.3f} to {row['epoch_s_max']:.3f}) |"
        for name, row in by_name.items()
    ]
    cost = by_name["kit"]["epoch_s"] / by_name["bare Keras"]["epoch_s"] - 1
    saved = by_name["head"]["epoch_s"] / by_name["head, cached features"]["epoch_s"]
    apart = max(
        abs(one - other)
        for head in result["rows"]
        for cached in result["rows"]
        if (head["variant"], cached["variant"]) == ("head", "head, cached features")
        for one, other in zip(head["losses"], cached["losses"], strict=True)
    )
    return "\n".join(
        [
            *lines,
            "",
            f"The kit costs {cost:+.1%} beside a bare Keras script; with cached features an epoch of the head is "
            f"{saved:.1f} times faster, and the losses of its epochs are at most {apart:.1e} apart.",
        ]
    )
