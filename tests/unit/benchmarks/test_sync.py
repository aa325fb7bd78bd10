"""The benchmark of methods: the link at which an engine has the paper's ratio."""

import pytest

from analysis.comparison.paper import PAPER
from benchmarks.lab.sync import ratio_and_rate
from trainer.contract.events import ONE_BOARD

RATE = 80_000_000  # bit/s
MEGABYTES = 10.0  # that a step sends as in the paper: 1 s at that rate


def rows(step_s: float, overhead_s: float) -> list[dict]:
    """Two cycles of a trial at that rate."""
    sent_s = 8e6 * MEGABYTES / RATE
    both = [(ONE_BOARD, step_s, 0.0), ("keras", step_s + sent_s + overhead_s, 1e6 * MEGABYTES)]
    return [
        {"sync": sync, "cycle": cycle, "step_s": took, "expected_bytes_per_step": sent}
        for cycle in (1, 2)
        for sync, took, sent in both
    ]


@pytest.mark.parametrize(("step_s", "overhead_s"), [(0.5, 0.0), (0.5, 0.2), (0.8, 0.1)])
def test_the_link_gets_the_rate_at_which_the_trial_would_have_the_papers_ratio(step_s, overhead_s):
    ratio, rate = ratio_and_rate(rows(step_s, overhead_s), "tensorflow", RATE)
    assert ratio == pytest.approx((1 + overhead_s) / step_s)
    assert (8e6 * MEGABYTES / rate + overhead_s) / step_s == pytest.approx(PAPER.communication_ratio)
