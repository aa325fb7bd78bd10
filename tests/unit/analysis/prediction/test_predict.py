"""What runs measured, and what is predicted from it: from records to the table and the command."""

import dataclasses
import json
import re

import pytest

from analysis.__main__ import main
from analysis.prediction.allreduce import Network
from analysis.prediction.measured import Measured, combine
from analysis.prediction.predict import PREDICTED, Plan, measured_in, predict
from analysis.runs.errors import AnalysisError
from tests import PROJECT
from tests.data.build_runs import BATCH, PARAMETERS, STEPS, build_run
from trainer.contract.events import Probe, Resume, Trial
from trainer.contract.records import EventLog
from trainer.contract.sections import Sync, sync_of

REHEARSAL = PROJECT / "tests/data/rehearsal_of_schema1"
ONE, TWO, FAST = (next(REHEARSAL.glob(name)) for name in ("*-w1-s1", "*rehearsal-w2-s1", "*rehearsal_fast-w2-s1"))
LINK = 120_000_000  # of build_run's boards


def plan(*workers, link=LINK, **network):
    return Plan(workers, Network(link, **network))


def row(table, workers, sync):
    return table[(table["workers"] == workers) & (table["sync"] == sync)].iloc[0]


def add(folder, make):
    """Append the records that `make` gives for each rank to the run's boards."""
    for rank, home in enumerate(sorted((folder / "boards").iterdir())):
        log = EventLog(home / "events.jsonl")
        for record in make(rank):
            log.write(record)
        log.close()
    return folder


def probe(_):
    return [
        Probe(step_s=[0.4, 0.42, 0.41], distributed_step_s=[1.3], all_reduce_s=[0.85], payload_bytes=4 * PARAMETERS)
    ]


def trial(rank):
    times = {
        "one board": 0.38,
        "no_sync": 0.4,
        "keras": 1.2,
        "allreduce, float32": 1.1,
        "local_sgd, period 16": 0.42,
        "local_sgd, period 16, overlap 0": 0.5,
        "allreduce, float16, bucket_bytes 2000000": 0.8,
    }
    for cycle in (1, 2, 3):
        for name, step_s in times.items():
            idle = name == "one board" and rank
            yield Trial(
                sync=name,
                cycle=cycle,
                steps=10,
                images=0 if idle else 640,
                elapsed_s=10 * step_s,
                communication_s=7.0 if name in ("keras", "allreduce, float32") else 0.0,
                waiting_s=None if name == "keras" else 0.1,
                overlapped_s=0.5 if name.startswith("local") else 0.0,
                sent_bytes=0,
                payload_bytes=40 * PARAMETERS if name == "allreduce, float32" else 0,
            )


def test_a_run_on_one_board_tells_its_steady_step_and_its_validation(tmp_path):
    measured = Measured.from_folder(build_run(tmp_path, step_s=0.4))
    assert measured.step_s == (pytest.approx(0.4),)  # the first epoch, three times as long, is not in it
    assert measured.spread_s == pytest.approx(0, abs=1e-9)
    assert measured.validation_s == 0.5
    assert measured.emulated is True
    assert measured.power_w is None
    assert measured.timed == ()


def test_without_a_steady_epoch_the_first_window_of_every_attempt_is_left_out(tmp_path):
    folder = add(build_run(tmp_path, epochs=2, step_s=0.4), lambda _: [Resume(epoch=1, startup_s=3.0)])
    assert Measured.from_folder(folder).step_s == (pytest.approx((3 * 0.4 + 0.4) / 2),)  # as many steps of each epoch


def test_a_run_on_two_boards_tells_what_synchronising_took(tmp_path):
    measured = Measured.from_folder(build_run(tmp_path, workers=2, step_s=1.2))
    assert measured.step_s == ()
    assert measured.together_step_s == (pytest.approx(0.8), pytest.approx(0.8))
    (timed,) = measured.timed
    assert (timed.sync.method, timed.workers, timed.link_bit_per_s, timed.waiting_s) == ("keras", 2, LINK, None)
    assert (timed.step_s, timed.communication_s) == (pytest.approx(1.2), pytest.approx(0.4))
    assert measured.validation_s == 1.0  # each validates half


def test_a_probe_tells_a_step_and_an_all_reduce(tmp_path):
    folder = add(build_run(tmp_path, workers=2, epochs=1, task="probe"), probe)
    measured = Measured.from_folder(folder)
    assert measured.step_s == (0.41, 0.41)
    (point,) = measured.points
    assert (point.payload_bytes, point.seconds, point.link_bit_per_s) == (4 * PARAMETERS, 0.85, LINK)


def test_a_trial_tells_every_method_and_the_contention_of_boards_that_share_a_machine(tmp_path):
    folder = add(build_run(tmp_path, workers=2, epochs=1, task="trial"), trial)
    measured = Measured.from_folder(folder)
    assert (measured.step_s, measured.together_step_s) == ((pytest.approx(0.38),), (pytest.approx(0.4),))
    by_method = {
        timed.sync.method: timed for timed in measured.timed if not timed.sync.bucket_bytes and timed.sync.overlap
    }
    assert len(measured.timed) == len(by_method) + 2
    assert by_method["allreduce"].waiting_s == pytest.approx(0.01)
    assert by_method["keras"].waiting_s is None
    assert by_method["local_sgd"].average_s == pytest.approx(0.05 * 16)
    # buckets hide what they take, and what is exchanged now and then is not known by its step: they are no points
    (point,) = measured.points
    assert (point.payload_bytes, point.seconds) == (4 * PARAMETERS, pytest.approx(0.7))


def test_power_of_a_manifest_becomes_energy_of_all_boards(tmp_path):
    folder = build_run(tmp_path, step_s=0.4)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["boards"][0]["cost"]["mean_power_mw"] = 20_000
    (folder / "manifest.json").write_text(json.dumps(manifest))
    table = predict(Measured.from_folder(folder), plan(4))
    for made in table.to_dict("records"):
        assert made["energy_j"] == pytest.approx(20 * made["workers"] * made["total_s"])


def test_names_of_a_trial_are_configurations():
    assert sync_of("allreduce, float32") == Sync(method="allreduce", gradient_dtype="float32")
    assert sync_of("local_sgd, period 32") == Sync(method="local_sgd", period=32)
    assert sync_of("keras") == Sync()
    buckets = Sync(method="allreduce", gradient_dtype="float16", bucket_bytes=2_000_000)
    assert sync_of("allreduce, float16, bucket_bytes 2000000") == buckets


def test_runs_complete_each_other_and_must_have_done_the_same(tmp_path):
    one = Measured.from_folder(build_run(tmp_path, "one", step_s=0.4))
    two = Measured.from_folder(build_run(tmp_path, "two", workers=2, step_s=1.2))
    both = combine([one, two])
    assert (both.run_ids, both.step_s, both.together_step_s) == (("one", "two"), one.step_s, two.together_step_s)
    odd = Measured.from_folder(build_run(tmp_path, "odd", facts={"emulated": False}))
    with pytest.raises(AnalysisError, match=r"emulated: True in one, False in odd"):
        combine([one, odd])


def test_one_board_of_the_table_is_the_run_it_stands_on():
    first = predict(measured_in([ONE]), plan(2)).iloc[0]
    lines = (ONE / "boards/board-1/events.jsonl").read_text().splitlines()
    epochs = [record["epoch_s"] for record in map(json.loads, lines) if record["event"] == "epoch"][1:]
    assert first["epoch_s"] == pytest.approx(sum(epochs) / 4, rel=0.005)
    assert (first["workers"], first["speedup"], first["exposed_share"]) == (1, 1, 0)


def steps_s(folder, epochs):
    """Seconds per step in these epochs, of the first board's records."""
    lines = (folder / "boards/board-1/events.jsonl").read_text().splitlines()
    found = [it for it in map(json.loads, lines) if it["event"] == "epoch" and it["epoch"] in epochs]
    return sum(it["train_s"] for it in found) / sum(it["steps"] for it in found)


def test_keras_on_two_boards_is_what_it_was_measured_to_be():
    measured = measured_in([ONE, TWO])
    made = row(predict(measured, plan(2, link=measured.link_bit_per_s)), 2, "keras")
    assert made["step_s"] == pytest.approx(steps_s(TWO, (2, 3, 4, 5)), rel=0.02)
    assert made["compute_s"] + made["communication_s"] + made["waiting_s"] == pytest.approx(made["step_s"])


def test_local_sgd_is_predicted_before_it_is_run():
    measured = measured_in([ONE, TWO])
    made = row(predict(measured, plan(2, link=measured.link_bit_per_s)), 2, "local_sgd, period 16")
    # the first epoch is made together, and the last one waits at its end
    assert made["step_s"] == pytest.approx(steps_s(FAST, (2, 3, 4)), rel=0.15), (
        "from runs alone; predict.yml tells more"
    )
    assert Measured.from_folder(FAST).timed[0].average_s > 0.3


def test_runs_of_several_boards_that_differ_in_sharding_are_not_combined(tmp_path):
    override = {"data": {"sharding": "sharded"}}
    one, whole, sharded = (
        build_run(tmp_path, "one"),
        build_run(tmp_path, "whole", workers=2),
        build_run(tmp_path, "sharded", workers=2, override=override),
    )
    with pytest.raises(AnalysisError, match=r"data.sharding: sharded in sharded, whole in whole"):
        measured_in([one, whole, sharded])
    assert measured_in([one, sharded]).sharding == "sharded", "one board does the same in either way"


def test_what_an_engine_took_predicts_nothing_of_the_other(tmp_path):
    override = {"engine": "pytorch", "sync": {"method": "allreduce"}}
    one, two = build_run(tmp_path, "one", override=override), build_run(tmp_path, "two", workers=2)
    assert measured_in([one]).engine == "pytorch"
    with pytest.raises(AnalysisError, match=r"engine: pytorch in one, tensorflow in two"):
        measured_in([one, two])
    with pytest.raises(AnalysisError, match=r"strategy ddp, which is not predicted: give .* multi_worker_mirr"):
        measured_in([build_run(tmp_path, "three", workers=2, override=override)])


def test_a_method_that_nobody_timed_and_far_more_boards_have_no_interval(tmp_path):
    folder = add(build_run(tmp_path, workers=2, epochs=1, task="trial"), trial)
    measured = Measured.from_folder(folder)
    table = predict(measured, plan(2, 4, 8, 9))
    known = table[table["half_width"].notna()][["workers", "sync"]].to_numpy().tolist()
    local = "local_sgd, period 16"
    two = [[2, name] for name in PREDICTED if not name.startswith("powersgd")]
    assert [1, "none"] in known and [2, "keras"] in known and [2, local] in known
    assert known == [[1, "none"], *two], "the points have one size, which tells no latency"
    assert table.loc[table["far"], "workers"].unique().tolist() == [9]
    row_ = row(table, 2, "keras")
    assert row_["step_s_low"] < row_["step_s"] < row_["step_s_high"]
    assert row_["half_width"] == pytest.approx(1.76 * 0.045, rel=0.1), "cycles that are all the same add no error"


def test_what_was_measured_once_has_no_interval(tmp_path):
    once = dataclasses.replace(Measured.from_folder(build_run(tmp_path)), step_error=None)
    assert predict(once, plan(2))["half_width"].isna().all()


@pytest.mark.parametrize("sharding", ["sharded", "proportional"])
def test_boards_that_share_images_end_an_epoch_sooner_and_those_that_do_not_see_more(tmp_path, sharding):
    whole = measured_in([build_run(tmp_path, "whole")])
    sharded = measured_in([build_run(tmp_path, "sharded", override={"data": {"sharding": sharding}})])
    free = {"workers": 4, "sync": "local_sgd, period 16"}
    epochs = [row(predict(measured, plan(4)), **free)["epoch_s"] for measured in (whole, sharded)]
    assert epochs == [pytest.approx(STEPS * 0.4 + 0.5 / 4), pytest.approx(STEPS / 4 * 0.4 + 0.5 / 4)]
    assert row(predict(whole, plan(4)), **free)["images_per_s"] == pytest.approx(4 * BATCH / 0.4)


def test_a_plan_that_makes_no_sense_is_refused_with_all_that_is_wrong():
    with pytest.raises(AnalysisError) as error:
        Plan((0, 2), Network(0.0, uplink_bit_per_s=1e9), {"auto": Sync(method="auto")})
    for part in ("0 boards: give 1", "link has 0 Mbit/s", "also give --switch-ports", "auto cannot be predicted"):
        assert part in str(error.value)


def test_the_command_says_what_it_stands_on_and_fits_a_terminal(capsys):
    assert main(["predict", "--from", str(ONE), str(TWO), "--workers", "2,64", "--link", "135"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    text = " ".join(out.split())
    assert "A prediction, not a measurement" in text
    assert ONE.name in text and TWO.name in text
    assert "emulated boards" in text
    assert "energy" not in text  # no sensor
    assert re.search(r"\n +64\* keras", out) and re.search(r"\n +2 keras", out)
    assert "*: more than 4 times the 2 boards that were measured" in text
    assert "64 boards: a step computes for" in text


def test_json_has_every_row_and_null_for_what_is_not_known(capsys):
    command = [
        "predict",
        "--from",
        str(ONE),
        "--workers",
        "2",
        "--link",
        "1000",
        "--switch-ports",
        "1",
        "--uplink",
        "100",
    ]
    assert main([*command, "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [made["sync"] for made in out["rows"]] == ["none", *PREDICTED]
    assert {made["energy_j"] for made in out["rows"]} == {None}
    assert out["prediction"] and out["emulated"]
    assert set(out["standard_errors"]) >= {"latency_s", "per_byte_s", "spread_s"}
    assert out["network"]["uplink_bit_per_s"] == 1e8
    # the uplink is the bottleneck, and no link helps
    assert out["rows"][1]["break_even_link_bit_per_s"] is None


def test_runs_that_lack_what_is_needed_are_an_error_with_a_remedy(tmp_path, capsys):
    command = ["--workers", "2", "--link", "1000"]
    assert main(["predict", "--from", str(tmp_path), *command]) == 2
    assert "no run found: give the folders" in capsys.readouterr().err
    folder = build_run(tmp_path, "short", epochs=1)
    events = folder / "boards" / "board-1" / "events.jsonl"
    events.write_text(events.read_text().splitlines()[0] + "\n")
    assert main(["predict", "--from", str(folder), *command]) == 2
    assert "short: no step was timed: give a run on one board" in capsys.readouterr().err
    events.write_text("")
    assert main(["predict", "--from", str(folder), *command]) == 2
    assert "short: no board started training" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "--from", str(folder), "--workers", "two", "--link", "1000"])
    assert "such as 2,4,8" in capsys.readouterr().err


@pytest.mark.parametrize("counts", ["0", "-2", "2,", "1.5", "9" * 20, "1000001"])
def test_numbers_of_boards_that_cannot_be_are_refused(counts, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "--from", str(ONE), f"--workers={counts}"])
    assert "is not a list of numbers from 1 to 1000000, such as 2,4,8" in capsys.readouterr().err
