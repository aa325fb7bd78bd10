"""Energy from samples: right to a thousandth, and null where nothing was measured."""

import math

import numpy as np
import pytest

from analysis.runs.energy import integral, of_board, of_cluster
from trainer.contract.config import ConfigError
from trainer.contract.tegrastats import summed_rails

ORIN = {"VDD_GPU_SOC": 9000, "VDD_CPU_CV": 2000, "VIN_SYS_5V0": 4000}


def sample(time_s, power_mw, celsius=40.0, idle=False):
    return {"time_s": time_s, "power_mw": power_mw, "temperature_c": {"GPU": celsius, "CPU": celsius - 3}, "idle": idle}


def records(*events):
    return [
        {"event": event, "time_s": time_s, "epoch_s": 50.0, "images": 300, "startup_s": 6.0} for event, time_s in events
    ]


TRAINED = records(("start", 10.0), ("window", 12.0), ("epoch", 60.0), ("epoch", 110.0), ("end", 112.0))


def test_a_known_integral_is_found_from_an_irregular_clock_with_gaps():
    generator = np.random.default_rng(1)
    times = np.cumsum(generator.uniform(0.3, 1.7, 2000))
    times = times[(times < 300) | (times > 320)]  # nothing was sampled for 20 s
    watts = 20 + 5 * np.sin(2 * math.pi * times / 400)
    start, end = 50.5, 1450.25
    known = 20 * (end - start) - 5 * 400 / (2 * math.pi) * (
        math.cos(2 * math.pi * end / 400) - math.cos(2 * math.pi * start / 400)
    )
    assert integral(times, watts, start, end) == pytest.approx(known, rel=1e-3)
    shuffled = generator.permutation(len(times))
    assert integral(times[shuffled], watts[shuffled], start, end) == pytest.approx(known, rel=1e-3)


def sampled_at(times, watts):
    return [sample(float(time), {"VDD_IN": 1000 * watt}) for time, watt in zip(times, watts, strict=True)]


def test_a_boards_known_curve_is_integrated_within_a_thousandth():
    times = np.arange(0.0, 121.0, 1.0) + np.random.default_rng(2).uniform(-0.2, 0.2, 121)
    found = of_board(sampled_at(times, 20 + 5 * np.sin(2 * math.pi * times / 30)), TRAINED)
    known = 20 * 100 - 5 * 30 / (2 * math.pi) * (math.cos(2 * math.pi * 110 / 30) - math.cos(2 * math.pi * 10 / 30))
    assert found["energy_j"] == pytest.approx(known, rel=1e-3)
    assert found["coverage"] == pytest.approx(1) and found["largest_gap_s"] < 1.5 and found["refused"] is None
    assert found["energy_by_epoch_j"][-1] == pytest.approx(found["energy_j"] + 20 * 6, rel=0.05), "from its start, 6 s"
    assert found["energy_by_epoch_j"][0] < found["energy_by_epoch_j"][1]


@pytest.mark.parametrize("gap", [(40, 60), (9, 30), (90, 120)], ids=["inside", "before", "after"])
def test_a_gap_of_a_fifth_of_training_is_refused_with_its_length(gap):
    times = [time for time in range(120) if not gap[0] < time < gap[1]]
    found = of_board(sampled_at(times, [15] * len(times)), TRAINED)
    assert found["energy_j"] is found["mean_power_mw"] is found["energy_by_epoch_j"] is None
    assert found["largest_gap_s"] == pytest.approx(20, abs=1) and found["coverage"] == pytest.approx(0.8, abs=0.02)
    assert found["refused"] in [
        f"no sample for {lost} s of 100 s (at most 10% may be missing)" for lost in (19, 20, 21)
    ]


def test_many_small_gaps_are_refused_too():
    times = [time for time in range(121) if time % 20 < 12]
    found = of_board(sampled_at(times, [15] * len(times)), TRAINED)
    assert found["energy_j"] is None and found["refused"].startswith("only 5")
    times = [time for time in range(121) if not 40 < time < 49]
    assert of_board(sampled_at(times, [15] * len(times)), TRAINED)["energy_j"] == pytest.approx(1500)


def test_a_rail_that_few_samples_have_is_no_input_of_the_board():
    samples = [sample(float(second), ORIN) for second in range(120)]
    samples[3] = sample(3.0, {"VDD_IN": 1})
    found = of_board(samples, TRAINED)
    assert found["rails"] == sorted(ORIN) and found["mean_power_mw"] == pytest.approx(15_000)


@pytest.mark.parametrize(
    ("idle_c", "cold"),
    [([30.0] * 5, True), ([46.0] * 5, False), ([44.0, 43.0, 42.0, 41.0, 40.0], False), ([], None)],
    ids=["cold", "as hot as in training", "still cooling", "not idle"],
)
def test_an_idle_baseline_says_whether_the_board_was_cold(idle_c, cold):
    idle = [sample(float(second), ORIN, celsius, idle=True) for second, celsius in enumerate(idle_c)]
    found = of_board([*idle, *(sample(float(second), ORIN, 50.0) for second in range(5, 120))], TRAINED)
    assert found["idle_cold"] is cold
    assert found["idle_temperature_c"] == (None if cold is None else pytest.approx(sum(idle_c) / 5))


@pytest.mark.parametrize("times", [[], [50.0], [10.0, 50.0], [60.0, 110.0]])
def test_an_interval_that_was_not_sampled_has_no_energy(times):
    assert integral(np.array(times), np.ones(len(times)), 10.0, 110.0) is None


def test_a_boards_energy_is_that_of_its_training():
    samples = [sample(float(second), {"VDD_IN": 99_000}) for second in range(10)]
    samples += [sample(float(second), {"VDD_IN": 15_000, "VDD_SOC": 3_000}, 50.0) for second in range(10, 111)]
    samples += [sample(float(second), {"VDD_IN": 99_000}, 90.0) for second in range(111, 120)]
    found = of_board(samples, TRAINED)
    assert found["rails"] == ["VDD_IN"], "its other rails are parts of it"
    assert found["energy_j"] == pytest.approx(15 * 100)
    assert found["mean_power_mw"] == pytest.approx(15_000)
    assert found["temperature_max_c"] == 50.0


def test_what_an_idle_board_takes_is_told_apart():
    before = [sample(float(second), {"VDD_IN": 9_000 + 2_000 * (second % 2)}, idle=True) for second in range(4)]
    samples = [*before, *(sample(float(second), {"VDD_IN": 15_000}) for second in range(4, 120))]
    found = of_board(samples, TRAINED)
    assert found["idle_power_mw"] == pytest.approx(10_000)
    assert found["energy_above_idle_j"] == pytest.approx(5 * 100)
    assert of_board(samples[4:], TRAINED)["energy_above_idle_j"] is None, "nobody measured an idle board"


def test_images_are_those_of_all_epochs():
    assert of_board([], TRAINED)["images"] == 2 * 300


class TestCluster:
    one = of_board([sample(float(second), ORIN, idle=second < 5) for second in range(120)], TRAINED)

    def test_boards_are_summed(self):
        found = of_cluster([self.one, self.one], None, None, None)
        assert found["energy_j"] == pytest.approx(2 * 1500) and found["mean_power_mw"] == pytest.approx(30_000)
        assert found["energy_j_per_image"] == pytest.approx(1500 / 600)
        assert found["switch_energy_j"] is None and found["wall_energy_j"] is None

    def test_a_board_without_sensors_leaves_the_sum_unknown(self):
        found = of_cluster([self.one, of_board([], TRAINED)], None, None, None)
        assert found["energy_j"] is None and found["energy_j_per_image"] is None

    @pytest.mark.parametrize(
        "time", [lambda s: str(1_700_000_000 + s), lambda s: f"2023-11-14T22:{13 + s // 60}:{20}Z"]
    )
    def test_the_switch_and_the_wall_meter_count_over_the_training(self, tmp_path, time):
        meter = tmp_path / "meter.csv"
        meter.write_text("time,power_w\n" + "".join(f"{time(second)},80\n" for second in range(0, 241, 60)))
        interval = (1_700_000_000.0 + 30, 1_700_000_000.0 + 230)
        found = of_cluster([self.one], interval, 12.0, meter)
        assert found["switch_energy_j"] == pytest.approx(12 * 200)
        assert found["wall_energy_j"] == pytest.approx(80 * 200)

    def test_another_file_than_a_meters_is_refused(self, tmp_path):
        meter = tmp_path / "meter.csv"
        meter.write_text("when,watts\n1,2\n")
        with pytest.raises(ConfigError, match=r"meter.csv cannot be read.*columns time and power_w"):
            of_cluster([self.one], (0.0, 1.0), None, meter)


def test_rails_are_summed_where_none_is_the_input():
    found = of_board([sample(float(second), ORIN) for second in range(120)], TRAINED)
    assert found["rails"] == sorted(ORIN) and found["mean_power_mw"] == pytest.approx(15_000)
    assert summed_rails(["POM_5V_GPU", "POM_5V_IN"]) == ["POM_5V_IN"]


def test_memory_that_is_fed_from_a_rail_is_not_added_to_it():
    power = {**ORIN, "VDDQ_VDD2_1V8AO": 1000}
    found = of_board([sample(float(second), power) for second in range(120)], TRAINED)
    assert found["rails"] == sorted(ORIN) and found["energy_j"] == pytest.approx(15 * 100)


@pytest.mark.parametrize("first", [{"VDD_GPU_SOC": 9000}, {"VDD_SOC": 900}, {}])
def test_the_rails_are_those_of_all_samples_whatever_the_first_one_lacks(first):
    whole = ORIN if "VDD_GPU_SOC" in first else {"VDD_IN": 15_000, "VDD_SOC": 900}
    found = of_board([sample(1.0, first), *(sample(float(second), whole) for second in range(2, 120))], TRAINED)
    assert found["rails"] == summed_rails(whole) and found["mean_power_mw"] == pytest.approx(15_000)


def test_a_pmics_constant_100_c_and_a_sensor_that_is_off_are_no_heat():
    samples = [sample(float(second), ORIN, 50.0) for second in range(120)]
    for each in samples:
        each["temperature_c"] |= {"PMIC-Die": 100.0, "cv0-thermal": -256.0}
    assert of_board(samples, TRAINED)["temperature_max_c"] == 50.0
    for each in samples:
        each["temperature_c"] = {"PMIC": 100.0}
    assert of_board(samples, TRAINED)["temperature_max_c"] is None


def test_a_sample_that_lacks_a_rail_is_passed_over():
    samples = [sample(float(second), ORIN if second % 7 else {"VDD_GPU_SOC": 9000}) for second in range(1, 120)]
    assert of_board(samples, TRAINED)["mean_power_mw"] == pytest.approx(15_000)


@pytest.mark.parametrize(
    "samples, found_in",
    [
        ([], TRAINED),
        ([sample(float(second), {}) for second in range(120)], TRAINED),
        ([sample(float(second), ORIN) for second in range(120)], records(("start", 10.0))),
        (
            [sample(float(second), ORIN) for second in range(120)],
            [*TRAINED[:3], *records(("resume", 70.0)), *TRAINED[3:]],
        ),
    ],
    ids=["no samples", "no sensor", "no epoch", "resumed"],
)
def test_what_was_not_measured_is_null(samples, found_in):
    found = of_board(samples, found_in)
    assert found["energy_j"] is None and found["mean_power_mw"] is None


@pytest.mark.parametrize("odd", [{"VDD_IN": math.nan}, {"VDD_IN": "15 W"}, {"VDD_IN": None}, {}, [], None])
def test_what_is_no_number_is_passed_over(odd):
    samples = [sample(float(second), {"VDD_IN": 15_000}) for second in range(1, 120)]
    samples[50] |= {"power_mw": odd, "temperature_c": odd}
    found = of_board(samples, TRAINED)
    assert found["mean_power_mw"] == pytest.approx(15_000) and found["temperature_max_c"] == 40.0
