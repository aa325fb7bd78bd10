"""manifest.json: how a run ended and what it left."""

import hashlib
import json
import math
import shutil

import pytest

from analysis import load, write_manifest
from analysis.runs.manifest import add_energy, describe
from tests.data.build_runs import STARTED_S, build_run
from trainer.contract.config import ConfigError
from trainer.contract.events import Resume
from trainer.contract.layout import SCHEMA, write_json
from trainer.contract.records import EventLog
from trainer.contract.run import load_run


def change_result(folder, board, **fields):
    path = folder / "boards" / board / "result.json"
    write_json(path, {**json.loads(path.read_text()), **fields})


def test_a_run_that_every_board_finished_succeeded(tmp_path):
    folder = build_run(tmp_path, "run", workers=2, seed=7)
    manifest = write_manifest(folder)
    assert manifest == json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema"], manifest["run_id"], manifest["seed"]) == (SCHEMA, "run", 7)
    assert (manifest["status"], manifest["cause"]) == ("succeeded", None)
    assert [board["name"] for board in manifest["boards"]] == ["board-1", "board-2"]
    assert [board["rank"] for board in manifest["boards"]] == [0, 1]
    assert manifest["boards"][1]["facts"]["tensorflow"] == "2.12.1"
    assert manifest["rehearsal"] is True
    assert manifest["synthetic"] is True
    assert manifest["git_commit"] == "c" * 40
    assert manifest["git_dirty"] is False


def test_it_says_which_collective_ran_where_another_was_asked_for(tmp_path):
    ring = {"facts": {"collective_used": "RingReduce"}, "workers": 2}
    manifest = write_manifest(build_run(tmp_path, "nccl", **ring))
    assert manifest["collective"] == "asked for NCCL, RingReduce ran"
    said = [(board["collective_asked"], board["facts"]["collective_used"]) for board in manifest["boards"]]
    assert said == [("nccl", "RingReduce")] * 2
    as_asked = build_run(tmp_path, "ring", **ring, override={"sync": {"implementation": "ring"}})
    assert write_manifest(as_asked)["collective"] is None
    alone = write_manifest(build_run(tmp_path, "alone", workers=1))
    assert (alone["collective"], alone["boards"][0]["collective_asked"]) == (None, None)


def test_it_lasts_from_the_first_start_to_the_last_end(tmp_path):
    manifest = write_manifest(build_run(tmp_path, workers=2))
    assert manifest["started_s"] == 1_735_689_600.0
    assert manifest["ended_s"] == 1_735_689_701.0
    assert manifest["started"] == "2025-01-01T00:00:00Z"
    assert manifest["ended"] == "2025-01-01T00:01:41Z"


def test_the_cause_is_the_board_whose_failure_ended_first(tmp_path):
    folder = build_run(tmp_path, workers=2, failed={0: "lost the other board", 1: "out of memory"})
    change_result(folder, "board-1", ended_s=200.0)
    change_result(folder, "board-2", ended_s=100.0)
    manifest = write_manifest(folder)
    assert manifest["status"] == "failed"
    assert manifest["cause"] == "board-2 failed: out of memory"
    assert [board["status"] for board in manifest["boards"]] == ["failed", "failed"]


def test_a_success_that_ended_earlier_is_not_the_cause(tmp_path):
    folder = build_run(tmp_path, workers=2, failed={1: "out of memory"})
    assert write_manifest(folder)["cause"] == "board-2 failed: out of memory"


def test_a_failure_without_cause_gives_its_exit_code(tmp_path):
    folder = build_run(tmp_path)
    change_result(folder, "board-1", status="failed", cause=None, exit_code=-9)
    assert write_manifest(folder)["cause"] == "board-1 failed: exit code -9"


def test_a_board_without_result_is_named(tmp_path):
    folder = build_run(tmp_path, workers=2)
    (folder / "boards/board-2/result.json").unlink()
    manifest = write_manifest(folder)
    assert (manifest["status"], manifest["cause"]) == ("failed", "board-2 left no result")
    left = manifest["boards"][1]
    assert (left["name"], left["rank"], left["status"], left["cause"]) == ("board-2", 1, None, "left no result")
    assert (left["facts"], left["clock"], left["cost"]["energy_j"]) == ({}, None, None)


def test_earlier_attempts_are_listed_in_their_order(tmp_path):
    folder = build_run(tmp_path)
    for number in range(1, 12):
        attempt = folder / "attempts" / str(number)
        attempt.mkdir(parents=True)
        shutil.copy(folder / "run.json", attempt / "run.json")
        manifest = {**describe(load_run(folder / "run.json"), {"board-1": None}, {}), "cause": f"the {number}th"}
        (attempt / "manifest.json").write_text(json.dumps(manifest))
    attempts = write_manifest(folder)["attempts"]
    assert [attempt["cause"] for attempt in attempts] == [f"the {number}th" for number in range(1, 12)]
    assert {attempt["culprit"] for attempt in attempts} == {"board-1"}


@pytest.mark.parametrize("failed", [None, {0: "the disk is full"}])
def test_checkpoints_stay_for_a_run_that_may_go_on(tmp_path, failed):
    folder = build_run(tmp_path, failed=failed or {})
    checkpoints = folder / "boards/board-1/checkpoints"
    checkpoints.mkdir()
    (checkpoints / "epoch-00001.npz").write_bytes(b"")
    write_manifest(folder)
    assert checkpoints.exists() == bool(failed)


def test_a_board_without_result_is_named_beside_the_one_that_noticed(tmp_path):
    folder = build_run(tmp_path, workers=2, failed={0: "heartbeat lost"})
    (folder / "boards/board-2/result.json").unlink()
    cause = "board-1 failed: heartbeat lost; board-2 left no result"
    assert write_manifest(folder)["cause"] == cause


def test_a_run_that_the_controller_stopped_is_interrupted(tmp_path):
    folder = build_run(tmp_path, workers=2)
    change_result(folder, "board-1", status="interrupted", cause="SIGTERM")
    (folder / "boards/board-2/result.json").unlink()
    manifest = write_manifest(folder, interrupted=True)
    assert manifest["status"] == "interrupted"
    assert manifest["cause"] == (
        "stopped from the controller; board-1 was interrupted: SIGTERM; board-2 left no result"
    )


def test_a_worker_that_was_stopped_on_its_board_interrupts_the_run(tmp_path):
    folder = build_run(tmp_path)
    change_result(folder, "board-1", status="interrupted", cause="SIGTERM")
    manifest = write_manifest(folder)
    assert manifest["status"] == "interrupted"
    assert manifest["cause"] == "board-1 was interrupted: SIGTERM"


def test_an_interruption_after_every_board_finished_changes_nothing(tmp_path):
    folder = build_run(tmp_path, workers=2)
    assert write_manifest(folder, interrupted=True)["status"] == "succeeded"


def test_what_no_board_told_is_null(tmp_path):
    folder = build_run(tmp_path)
    for path in (folder / "boards/board-1").iterdir():
        path.unlink()
    manifest = write_manifest(folder)
    assert manifest["rehearsal"] is None
    assert manifest["synthetic"] is None
    assert manifest["started"] is None


def test_real_boards_are_no_rehearsal(tmp_path):
    folder = build_run(tmp_path, facts={"emulated": False}, synthetic=False)
    manifest = write_manifest(folder)
    assert manifest["rehearsal"] is False
    assert manifest["synthetic"] is False


def test_every_file_but_the_manifest_has_its_checksum(tmp_path):
    folder = build_run(tmp_path, workers=2)
    (folder / "boards/board-1/trainer.log").write_bytes(b"abc")
    write_manifest(folder)
    sums = write_manifest(folder)["sha256"]  # the second does not list the first
    assert sorted(sums) == [
        "boards/board-1/events.jsonl",
        "boards/board-1/result.json",
        "boards/board-1/trainer.log",
        "boards/board-2/events.jsonl",
        "boards/board-2/result.json",
        "run.json",
    ]
    assert sums["boards/board-1/trainer.log"] == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_that_is_no_run_is_an_error_and_stays_as_it_is(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.json"):
        write_manifest(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_boards_own_cause_is_the_runs_whichever_ended_first(tmp_path):
    folder = build_run(tmp_path, workers=2, failed={0: "no word from board-2", 1: "killed"})
    change_result(folder, "board-1", cause_kind="network", ended_s=100.0)
    change_result(folder, "board-2", cause_kind="killed", ended_s=200.0, remedy="look at its memory")
    manifest = write_manifest(folder)
    assert (manifest["culprit"], manifest["cause_kind"]) == ("board-2", "killed")
    assert manifest["remedy"] == "look at its memory"


def test_a_board_that_could_not_be_reached_has_the_followers_word(tmp_path):
    folder = build_run(tmp_path, workers=2, failed={0: "no word from board-2"})
    change_result(folder, "board-1", cause_kind="network")
    home = folder / "boards/board-2"
    change_result(folder, "board-2", status="failed", cause="out of reach", cause_kind="unreachable")
    (home / "result.json").rename(home / "lost.json")
    manifest = write_manifest(folder)
    assert (manifest["culprit"], manifest["cause"]) == ("board-2", "board-2 failed: out of reach")


def test_what_was_copied_of_a_board_that_died_is_kept_and_called_partial(tmp_path):
    folder = build_run(tmp_path, workers=2)
    home = folder / "boards/board-2"
    (home / "result.json").unlink()
    (home / "live.json").write_text("{}")
    manifest = write_manifest(folder)
    assert [board["partial"] for board in manifest["boards"]] == [False, True]
    assert "boards/board-2/events.jsonl" in manifest["sha256"]
    assert not (home / "live.json").exists() and not any("live" in name for name in manifest["sha256"])


def test_energy_that_an_earlier_call_was_told_of_stays(tmp_path):
    folder, meter = build_run(tmp_path, power_w=20.0, ahead_s={}), tmp_path / "meter.csv"
    meter.write_text("time,power_w\n" + "".join(f"{STARTED_S + second},80\n" for second in range(0, 60, 5)))
    switch_j = add_energy(folder, switch_w=12.0, wall_meter=None)["cost"]["switch_energy_j"]
    both = add_energy(folder, switch_w=None, wall_meter=meter)["cost"]
    assert both["switch_energy_j"] == switch_j > 0 and both["wall_energy_j"] > 0
    assert add_energy(folder, switch_w=None, wall_meter=None)["cost"] == both
    again = add_energy(folder, switch_w=24.0, wall_meter=None)["cost"]
    assert again == {**both, "switch_energy_j": pytest.approx(2 * switch_j)}


def test_what_lies_between_attempts_costs_the_run_nothing(tmp_path):
    folder = build_run(tmp_path, power_w=20.0, ahead_s={})
    assert write_manifest(folder, switch_w=12.0)["cost"]["switch_energy_j"] > 0
    log = EventLog(folder / "boards/board-1/events.jsonl")
    log.write(Resume(epoch=1, startup_s=3.0))
    log.close()
    manifest = write_manifest(folder, switch_w=12.0)
    assert manifest["cost"]["switch_energy_j"] is None
    of_board = manifest["boards"][0]["cost"]
    assert of_board["energy_j"] is None and of_board["mean_power_mw"] is None
    assert of_board["temperature_max_c"] > 45


@pytest.mark.parametrize("time_s", [math.nan, math.inf, 1e300, "12:00"])
def test_a_result_of_no_known_time_is_none(tmp_path, time_s):
    folder = build_run(tmp_path, workers=2)
    path = folder / "boards/board-2/result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "ended_s": time_s}))
    assert write_manifest(folder)["cause"] == "board-2 left no result"
    assert "result.json of board-2 has a started_s or ended_s that is not a time" in " ".join(load([folder]).problems)


WITH_SERVERS = {"strategy": "parameter_server", "servers": 1, "sync": {"method": "asynchronous"}}


def test_a_run_that_went_on_without_a_worker_has_succeeded(tmp_path):
    went_on = build_run(tmp_path, "went_on", workers=3, failed={1: "killed"}, override=WITH_SERVERS)
    manifest = write_manifest(went_on)
    assert (manifest["status"], manifest["cause"], manifest["culprit"]) == ("succeeded", None, None)
    assert (manifest["engine"], manifest["strategy"]) == ("tensorflow", "parameter_server")
    assert [board["status"] for board in manifest["boards"]] == ["succeeded", "failed", "succeeded"]
    server = build_run(tmp_path, "server", workers=3, failed={2: "killed"}, override=WITH_SERVERS)
    assert write_manifest(server)["culprit"] == "board-3"
    collectives = build_run(tmp_path, "collectives", workers=3, failed={1: "killed"})
    assert write_manifest(collectives)["status"] == "failed"
