"""Compares the cost model with measurements, and predicts 2 to 1,024 of the paper's boards.

What the paper prints leaves one thing open: of the 242 ms that a second Orin adds to a step, the link explains 100; the
rest may grow with the bytes (copying, serialising) or be the same for any message (Keras, gRPC). Both are drawn, and
what lies between them is what one probe of two boards would tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.comparison.paper import PAPER
from analysis.prediction.allreduce import AllReduce, Network, hops
from analysis.prediction.costmodel import Constants, alone_s, break_even_period, constants, expected_maximum, step
from analysis.prediction.measured import Measured, of_turns
from analysis.prediction.mobilenet import backbone, elements, head
from analysis.prediction.predict import PREDICTED
from analysis.report.plots.style import COLOURS, INK, STYLE, as_svg
from analysis.runs.columns import records
from benchmarks.docs import labels
from trainer.contract.events import NO_SYNC, ONE_BOARD
from trainer.contract.methods import KERAS_METRICS
from trainer.contract.sections import sync_of

BOARDS = [2**power for power in range(1, 11)]
LINKS = (1e9, 2.5e9, 10e9)  # bit/s
SHOWN = ("keras", "allreduce, float16", "powersgd, rank 4", "local_sgd, period 16")
SWITCH_PORTS, UPLINK = 16, 10e9  # of the table with several switches
HELPS = 1.5  # twice the boards still help where they are so many times as fast
_LAYERS = (*backbone(), *head(classes=100, dense_units=512))
_STATISTICS = 34_112  # moving means and variances
_MODEL: dict[str, Any] = {
    "gradient_bytes": 4 * elements(list(_LAYERS)),
    "total_parameters": elements(list(_LAYERS)) + _STATISTICS,
    "shapes": _LAYERS,
    "board_batch": PAPER.batch_size,
    "epochs": PAPER.epochs,
    "train_images": PAPER.train_images,
}


def bench(result: dict[str, Any], link: str) -> Measured:
    """What `make bench-sync ARGS=--own-cores` measured of TensorFlow on two boards at one of its links."""
    rows = pd.DataFrame([row for row in result["rows"] if row["engine"] == "tensorflow" and row["link"] == link])
    rows = rows.astype({"waiting_s": float})
    # two boards send what they hand to a ring, once
    rows["payload_bytes_per_step"] = rows["expected_bytes_per_step"]
    measured = of_turns(rows, orin().sizes, float(rows["link_rate_bit_per_s"].iloc[0]))
    return Measured(run_ids=(f"bench-sync at {link}",), emulated=True, sharding="sharded", **_MODEL, **measured)


def validation(result: dict[str, Any]) -> pd.DataFrame:
    """Every method at each link, predicted from the other link alone.

    link, sync, step_s and speedup as measured (medians), predicted_step_s, predicted_speedup, and the relative errors
    step_error and speedup_error.
    """
    rows = []
    links = list(dict.fromkeys(row["link"] for row in result["rows"]))
    for link in links:
        stands_on = bench(result, next(other for other in links if other != link))
        found = constants(stands_on)
        rate = next(row["link_rate_bit_per_s"] for row in result["rows"] if row["link"] == link)
        for row in result["summary"]:
            if row["engine"] != "tensorflow" or row["link"] != link or row["sync"] in (ONE_BOARD, NO_SYNC):
                continue
            made = step(stands_on, found, sync_of(row["sync"]), row["boards"], Network(rate))
            speedup = row["boards"] * alone_s(stands_on) / made.total_s
            rows.append(
                {
                    "link": link,
                    "sync": row["sync"],
                    "step_s": row["step_s"],
                    "predicted_step_s": made.total_s,
                    "step_error": made.total_s / row["step_s"] - 1,
                    "speedup": row["speedup"],
                    "predicted_speedup": speedup,
                    "speedup_error": speedup / row["speedup"] - 1,
                }
            )
    return pd.DataFrame(rows)


def orin() -> Measured:
    """The paper's board: its step, 9,310 s / 100 epochs / 782 steps."""
    return Measured(
        run_ids=("the paper",),
        emulated=False,
        sharding="whole",
        step_s=(PAPER.one_board_s / PAPER.epochs / PAPER.steps_per_epoch,),
        **_MODEL,
    )


def readings(result: dict[str, Any]) -> tuple[Constants, Constants]:
    """The paper's boards: all of the rest grows with the bytes, or none of it does.

    What the paper does not tell is borrowed from two emulated boards at 1 Gbit/s: the latency as it is, and as a share
    of a step how much steps vary and what the kit's own methods cost beyond their all-reduces.
    """
    board, lab = orin(), bench(result, "1 Gbit/s")
    borrowed = constants(lab)
    step_s = alone_s(board)
    scale = step_s / lab.together_step_s[0]
    latency = AllReduce(borrowed.all_reduce.latency_s, 0.0)
    spread_s = scale * borrowed.spread_s
    explained_s = latency.seconds(board.gradient_bytes, 2, Network(LINKS[0])) + spread_s * expected_maximum(2)
    explained_s += KERAS_METRICS * hops(2) * latency.latency_s
    rest_s = PAPER.communication_ratio * step_s - explained_s
    common = replace(
        borrowed,
        all_reduce=latency,
        spread_s=spread_s,
        stretch={},
        overhead_s={
            method: scale * seconds for method, seconds in borrowed.overhead_s.items() if method != PAPER.method
        },
        average_delay_s=scale * borrowed.average_delay_s,
        average_cpu_s=scale * borrowed.average_cpu_s,
    )
    # two boards send what they hand to a ring, once
    grows = replace(latency, per_byte_s=rest_s / board.gradient_bytes)
    return (
        replace(common, all_reduce=grows),
        replace(common, overhead_s={**common.overhead_s, PAPER.method: rest_s}),
    )


def speedup(reading: Constants, name: str, workers: int, network: Network) -> float:
    """Over one Orin."""
    board = orin()
    return workers * alone_s(board) / step(board, reading, PREDICTED[name], workers, network).total_s


def helps_up_to(reading: Constants, name: str, network: Network) -> int:
    """The most boards whose speed is still HELPS times that of half as many."""
    pace = {count: speedup(reading, name, count, network) for count in (1, *BOARDS)}
    return max((count for count in BOARDS if pace[count] >= HELPS * pace[count // 2]), default=1)


def validation_table(result: dict[str, Any]) -> str:
    """The model's errors, as a table in Markdown."""
    lines = [
        "| predicted for | method | step, measured [ms] | predicted [ms] | error | speed-up, measured | predicted | "
        "error |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    rates = {row["link"]: row["link_rate_bit_per_s"] for row in result["rows"]}
    for row in records(validation(result)):
        lines.append(
            f"| {labels.of_link(row['link'], rates[row['link']])} | {labels.METHODS[row['sync']]} | "
            f"{1000 * row['step_s']:.0f} | {1000 * row['predicted_step_s']:.0f} | "
            f"{row['step_error']:+.1%} | {row['speedup']:.2f} | {row['predicted_speedup']:.2f} | "
            f"{row['speedup_error']:+.1%} |"
        )
    return "\n".join(lines)


def speed_table(result: dict[str, Any]) -> str:
    """Speed-up by link, method and boards on one switch, in Markdown."""
    shown, both = [2, 8, 32, 128, 512, 1024], readings(result)
    lines = [
        f"| link | method | {' | '.join(str(count) for count in shown)} | helps up to |",
        f"|---|---|{'--:|' * (len(shown) + 1)}",
    ]
    for link in LINKS:
        for name in PREDICTED:
            network = Network(link)
            cells = [_range(speedup(it, name, count, network) for it in both) for count in shown]
            most = _range(float(helps_up_to(it, name, network)) for it in both)
            lines.append(f"| {link / 1e9:g} Gbit/s | {labels.METHODS[name]} | {' | '.join(cells)} | {most} |")
    return "\n".join(lines)


def switches_table(result: dict[str, Any]) -> str:
    """Speed-up at 1 Gbit/s over switches of SWITCH_PORTS boards, by how the averages go round, in Markdown."""
    several = Network(LINKS[0], SWITCH_PORTS, UPLINK)
    slow = replace(several, uplink_bit_per_s=LINKS[0])
    networks = {
        "one ring, one switch for all": Network(LINKS[0]),
        "one ring, switch by switch": several,
        "one ring, switch by switch, uplinks of 1 Gbit/s": slow,
        "one ring, neighbours on different switches": replace(several, scattered=True),
        "one ring, neighbours on different switches, uplinks of 1 Gbit/s": replace(slow, scattered=True),
        "two levels": replace(several, hierarchical=True),
        "two levels, uplinks of 1 Gbit/s": replace(slow, hierarchical=True),
    }
    shown, both = [32, 128, 512, 1024], readings(result)
    lines = [f"| method | all-reduce | {' | '.join(map(str, shown))} | helps up to |", "|---|---|" + "--:|" * 5]
    for name in ("allreduce, float16", "local_sgd, period 16"):
        for path, network in networks.items():
            cells = [_range(speedup(it, name, count, network) for it in both) for count in shown]
            most = _range(float(helps_up_to(it, name, network)) for it in both)
            lines.append(f"| {labels.METHODS[name]} | {path} | {' | '.join(cells)} | {most} |")
    return "\n".join(lines)


def period_table(result: dict[str, Any]) -> str:
    """The shortest period of local SGD that is 95 % efficient at 1 Gbit/s, for both latencies that were measured."""
    found = [constants(bench(result, link)).all_reduce.latency_s for link in ("1 Gbit/s", "paper's ratio")]
    both = readings(result)
    lines = [f"| latency of a message | {' | '.join(map(str, BOARDS))} |", f"|---|{'--:|' * len(BOARDS)}"]
    for latency_s in found:
        cells = []
        for count in BOARDS:
            periods = [_period(reading, latency_s, count) for reading in both]
            cells.append(" to ".join(map(str, dict.fromkeys(sorted(periods)))))
        lines.append(f"| {1000 * latency_s:.2f} ms | {' | '.join(cells)} |")
    return "\n".join(lines)


def _period(reading: Constants, latency_s: float, workers: int) -> int:
    slow = replace(reading, all_reduce=replace(reading.all_reduce, latency_s=latency_s))
    period = break_even_period(orin(), slow, PREDICTED["local_sgd, period 16"], workers, Network(LINKS[0]), 0.95)
    assert period is not None  # a thousand steps hide anything here
    return period


def efficiency(result: dict[str, Any]) -> str:
    """Efficiency by boards, a panel per link; a band between the two readings of the paper."""
    title = "Efficiency of the paper's boards, on paper"
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 3.9), layout="constrained")
        both = readings(result)
        panels = figure.subplots(1, len(LINKS), sharey=True)
        for axes, link in zip(panels, LINKS, strict=True):
            for colour, name in zip(COLOURS, SHOWN, strict=True):
                low, high = ([100 * speedup(it, name, count, Network(link)) / count for count in BOARDS] for it in both)
                axes.fill_between(BOARDS, low, high, color=colour, alpha=0.25, linewidth=0)
                axes.plot(BOARDS, low, color=colour, linewidth=1.6, label=labels.METHODS[name])
                axes.plot(BOARDS, high, color=colour, linewidth=1.6)
            if link == LINKS[0]:
                papers = 100 * PAPER.arms()[1]["images_ratio"] / 2
                axes.plot(2, papers, "D", markersize=7, color=INK, fillstyle="none", label="the paper, measured")
            axes.set_xscale("log", base=2)
            axes.set_xticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
            axes.set_ylim(0, 105)
            axes.grid(axis="y", alpha=0.2, color=INK)
            axes.set_title(f"{link / 1e9:g} Gbit/s", loc="left", fontsize=11)
            axes.set_xlabel("boards")
        panels[0].set_ylabel("speed-up / boards [%]")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
        figure.suptitle(f"{title}: a model", x=0.01, horizontalalignment="left", fontsize=12)
        return as_svg(figure, "scaling", title)


def load(docs: Path) -> dict[str, Any]:
    """What the model stands on beside the paper: the published figures of `make bench-sync ARGS=--own-cores`. Where
    boards take turns on a core, a message waits for its board's turn, and that is no latency of a network."""
    result: dict[str, Any] = json.loads((docs / "data" / "bench-sync-cores.json").read_text(encoding="utf-8"))
    return result


def _range(values: Iterator[float]) -> str:
    low, high = (f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in sorted(values))
    return low if low == high else f"{low} to {high}"
