"""Clocks of boards: measured by asking, and their times merged."""

import json

import pandas as pd
import pytest

from analysis.runs.timeline import BoardClock, lags, on_controllers_clock, read_clock, warnings
from trainer.contract.clocks import Round, measure, summary
from trainer.contract.layout import CLOCK


def test_the_fastest_round_counts():
    found = summary([Round(100.0, 102.5, 100.4), Round(200.0, 202.51, 200.02)])
    assert found["offset_s"] == pytest.approx(2.5)
    assert found["uncertainty_s"] == pytest.approx(0.01)
    assert found["board_s"] == pytest.approx(202.51)


def test_the_question_that_opens_the_connection_does_not_count():
    answers = iter([Round(0.0, 9.0, 0.001), Round(10.0, 12.6, 10.2), Round(20.0, 22.6, 20.2)])
    assert measure(lambda: next(answers), 2)["offset_s"] == pytest.approx(2.5)


def keep(folder, board, **moments):
    path = folder / "boards" / board / CLOCK
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps(
            {
                name: {"board_s": at, "offset_s": offset, "uncertainty_s": uncertainty}
                for name, (at, offset, uncertainty) in moments.items()
            }
        )
    )


class TestTimeline:
    epochs = pd.DataFrame(
        {
            "board": ["a", "b", "a", "b"],
            "epoch": [1, 1, 2, 2],
            "time_s": [1010.0, 1012.6, 1020.0, 1022.4],  # b ends 0.1 s later, then 0.1 s earlier
        }
    )

    def test_a_board_whose_clock_is_ahead_falls_into_place(self, tmp_path):
        keep(tmp_path, "a", start=(1000.0, 0.0, 0.002), end=(1100.0, 0.0, 0.002))
        keep(tmp_path, "b", start=(1002.5, 2.5, 0.003), end=(1102.5, 2.5, 0.003))
        merged = on_controllers_clock(self.epochs, tmp_path)
        assert merged["board"].tolist() == ["a", "b", "b", "a"]
        assert merged["controller_s"].tolist() == pytest.approx([1010.0, 1010.1, 1019.9, 1020.0])
        found = lags(self.epochs, tmp_path)
        assert found["last"].tolist() == ["b", "a"]
        assert found["lag_s"].tolist() == pytest.approx([0.1, 0.1])
        assert found["uncertainty_s"].tolist() == pytest.approx([0.005, 0.005])
        assert list(warnings("run", self.epochs, tmp_path)) == []

    def test_drift_is_taken_to_be_steady(self):
        clock = BoardClock((1000.0, 2000.0), (0.0, 1.0), 0.001)
        assert clock.on_controller([900.0, 1500.0, 2000.0, 3000.0]) == [900.0, 1499.5, 1999.0, 2999.0]

    def test_what_clocks_do_not_allow_to_tell_is_said(self, tmp_path):
        keep(tmp_path, "a", start=(1000.0, 0.0, 0.2))
        keep(tmp_path, "b", start=(1002.5, 2.5, 0.3))
        (warning,) = warnings("run-1", self.epochs, tmp_path)
        assert warning.startswith("run-1: in 2 of 2 epochs") and "0.100 s apart" in warning and "(0.500 s)" in warning

    @pytest.mark.parametrize(
        "text",
        [None, "{}", "[]", '{"start": {}}', "{", '{"start": {"board_s": "x", "offset_s": 0, "uncertainty_s": 0}}'],
    )
    def test_a_clock_that_was_not_measured_is_null(self, tmp_path, text):
        keep(tmp_path, "a", start=(1000.0, 0.0, 0.2))
        if text is not None:
            (tmp_path / "boards/b").mkdir()
            (tmp_path / "boards/b" / CLOCK).write_text(text)
        assert read_clock(tmp_path / "boards/b") is None
        assert lags(self.epochs, tmp_path)["lag_s"].isna().all()
