"""The link rate at which emulated boards have the paper's ratio of communication to computation.

The paper's ratio compares a step of two boards, less a step of one, with a step of one. What the second board adds
to a step is the time of the gradient's bytes on the wire, and an overhead (copies, waiting, the network stack) that
does not depend on the rate:

    distributed_step_s(rate) - step_s = 8 * wire_bytes / rate + overhead_s

A probe measures the left side at one rate; a ring moves 2 (N - 1) / N times the payload each way (Patarasuk and
Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009). That gives the overhead, and
with it the rate at which the left side is the paper's ratio times a board's step.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from analysis.comparison.paper import PAPER
from analysis.prediction.allreduce import wire_bytes
from analysis.runs.errors import AnalysisError
from trainer.contract.events import Probe
from trainer.contract.layout import BOARDS, EVENTS, RUN
from trainer.contract.records import is_complete, read_records
from trainer.contract.run import load_run


@dataclass(frozen=True)
class Calibration:
    """The measurements on emulated boards, and the rate calculated from them."""

    run_id: str  # of the probe
    core_share: float  # fraction of a processor core per board
    probed_rate_bit_per_s: int
    step_s: float  # of one board alone; median over boards and windows
    distributed_step_s: float  # of all boards, at the probed rate; median
    overhead_s: float
    ratio: float  # wanted ratio of communication to computation
    link_rate_bit_per_s: int  # at which that ratio holds


def calibrate(folder: Path, probed_rate_bit_per_s: int, core_share: float) -> Calibration:
    """The calibration from a probe's collected folder, with `core_share` of a core per board.

    Raises AnalysisError if the folder has no probe of two or more boards, or if no rate gives the ratio because the
    overhead alone is larger.
    """
    run = load_run(folder / RUN)
    probes = [
        record
        for board in run.boards
        for record in filter(is_complete, read_records(folder / BOARDS / board / EVENTS)[0])
        if record["event"] == Probe.KIND
    ]
    if len(probes) < max(run.workers, 2):
        raise AnalysisError(f"{folder} has {len(probes)} probes of boards; give the folder of a probe of two or more")
    step_s = statistics.median(second for probe in probes for second in probe["step_s"])
    distributed_step_s = statistics.median(second for probe in probes for second in probe["distributed_step_s"])
    bits = 8 * wire_bytes(probes[0]["payload_bytes"], run.workers)
    overhead_s = max(0.0, distributed_step_s - step_s - bits / probed_rate_bit_per_s)
    wanted_s = PAPER.communication_ratio * step_s
    if wanted_s <= overhead_s:
        raise AnalysisError(
            f"synchronising takes {overhead_s:.3f} s per step on this machine at any link rate, but "
            f"{wanted_s:.3f} s at the paper's ratio: measure again while nothing else runs, or give a rate "
            "with -e lab_link_rate=120mbit"
        )
    return Calibration(
        run_id=run.run_id,
        core_share=core_share,
        probed_rate_bit_per_s=probed_rate_bit_per_s,
        step_s=step_s,
        distributed_step_s=distributed_step_s,
        overhead_s=overhead_s,
        ratio=PAPER.communication_ratio,
        link_rate_bit_per_s=round(bits / (wanted_s - overhead_s)),
    )
