"""cluster-kit, of which python -m analysis has a part: what it prints, where, and how it exits."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from controller.cli import main
from tests import PROJECT
from tests.data.build_runs import build_run

ARM = {
    "workers",
    "sync",
    "runs",
    "step_s",
    "pass_s",
    "total_s",
    "images_per_s",
    "pass_ratio",
    "val_accuracy_first",
    "val_accuracy_final",
    "sent_bytes_per_step",
}


@pytest.fixture
def runs(tmp_path):
    parent = tmp_path / "runs"
    build_run(parent, "one", workers=1, step_s=0.4)
    build_run(parent, "two", workers=2, step_s=1.2)
    build_run(parent, "two-b", workers=2, step_s=1.3, seed=2)
    build_run(
        parent,
        "packed",
        workers=2,
        step_s=0.9,
        override={"data": {"sharding": "sharded"}},
    )
    build_run(
        parent,
        "bytes",
        workers=2,
        step_s=0.9,
        override={"sync": {"bytes_per_pack": 1_000_000, "implementation": "ring"}},
    )
    build_run(parent, "bad", workers=2, failed={1: "out of memory"})
    (parent / "bench-step.json").write_text("{}")
    return [str(path) for path in parent.iterdir()]


def test_without_a_command_all_are_listed(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "a live view of a run" in capsys.readouterr().out


def test_the_table_fits_a_terminal_and_ends_with_the_verdict(runs, capsys):
    assert main(["compare", *runs]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert max(map(len, out.splitlines())) <= 100
    assert "paper: 2 boards, keras" in out
    assert "[images/s]" in out
    assert "±" in out
    assert "±-" not in out
    assert re.search(r"\n2 boards, keras +failed: bad, not averaged: board-2 failed: out of memory\n", out)
    verdict = " ".join(out.split("\n\n")[-1].split())
    assert verdict.startswith(
        "Two boards (plain Keras, implementation=ring, bytes_per_pack=1000000, all images on each) look not worth it: "
    )
    assert re.search(r"\(n=1 each: no interval; the best of \d comparisons\)", verdict)


def test_columns_are_aligned(runs, capsys):
    main(["compare", *runs])
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    ends = {len(line) for line in lines if line[:1] != " " or "[ms]" in line}
    assert len(ends - {len(line) for line in lines if line.strip().endswith(",")}) <= 2


def test_json_has_the_promised_keys_and_nothing_else_on_stdout(runs, capsys):
    assert main(["compare", *runs, "--json"]) == 0
    out = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert {
        "arms",
        "rehearsal",
        "synthetic",
        "paper",
        "verdict",
        "excluded",
        "problems",
    } <= set(out)
    assert all(set(arm) >= ARM for arm in out["arms"])
    assert out["rehearsal"] is True


def test_not_comparable_runs_are_refused_by_name(tmp_path, capsys):
    build_run(tmp_path, "a")
    build_run(tmp_path, "b", override={"batch_size": 8})
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "not comparable" in err
    assert "  batch_size: 64 in a; 8 in b" in err


def test_a_target_accuracy_is_taken_and_said(runs, capsys):
    assert main(["compare", *runs, "--target-accuracy", "0.15"]) == 0
    assert "first epoch with an accuracy of 0.150;" in " ".join(capsys.readouterr().out.split())
    assert main(["compare", *runs, "--target-accuracy", "0.15", "--json"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert (out["target_accuracy"], out["target_arm"]) == (0.15, None)
    # tracing makes the first epoch three times as long, the second one reaches 0.2
    assert out["arms"][0]["time_to_accuracy_s"] == pytest.approx(5 + 8 * 0.4 * 4 + 2 * 0.5), "the start took 5 s"


@pytest.mark.parametrize("value", ["75", "0", "high", "nan"])
def test_a_target_accuracy_that_is_no_share_is_refused(runs, capsys, value):
    with pytest.raises(SystemExit):
        main(["compare", *runs, "--target-accuracy", value])
    assert f"{value} is not a fraction between 0 and 1 (for example 0.75)" in capsys.readouterr().err


def test_extremes_are_dropped_on_request_and_it_is_said(tmp_path, capsys):
    for seed, step_s in enumerate([0.4, 0.41, 0.42, 0.43, 9.0], 1):
        build_run(tmp_path, f"run-{seed}", seed=seed, step_s=step_s)
    folders = [str(path) for path in tmp_path.iterdir()]
    main(["compare", *folders, "--drop-extremes", "--json"])
    (arm,) = json.loads(capsys.readouterr().out)["arms"]
    assert (arm["dropped"], arm["step_s"], arm["runs"]) == (["run-1", "run-5"], pytest.approx(0.42), 5)
    main(["compare", *folders, "--drop-extremes"])
    assert "without the fastest and the slowest run" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", [["compare"], ["report", "--out", "x.html"]])
def test_paths_without_runs_are_an_error_with_a_remedy(tmp_path, capsys, command):
    (tmp_path / "notes.txt").write_text("")
    assert main([*command, str(tmp_path / "notes.txt")]) == 2
    assert "training run found: give run folders" in capsys.readouterr().err


def test_a_pattern_that_matches_nothing_is_an_error_with_a_remedy(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "*")]) == 2
    assert "does not exist: give run folders" in capsys.readouterr().err


def test_only_failed_runs_are_an_error_that_says_why(tmp_path, capsys):
    folder = build_run(tmp_path, "bad", failed={0: "out of memory"})
    assert main(["compare", str(folder)]) == 2
    assert "bad failed: board-1 failed: out of memory" in capsys.readouterr().err


def test_compare_writes_the_report_as_well(runs, tmp_path, capsys):
    out = tmp_path / "new" / "report.html"
    assert main(["compare", *runs, "--json", "--report", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    json.loads(capsys.readouterr().out)


def test_a_report_that_cannot_be_written_is_an_error_with_a_remedy(runs, tmp_path, capsys):
    assert main(["report", *runs, "--out", str(tmp_path)]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_manifest_prints_how_the_run_ended(tmp_path, capsys):
    folder = build_run(tmp_path, "bad", failed={0: "out of memory"}, manifest=False)
    assert main(["manifest", str(folder)]) == 0
    assert capsys.readouterr().out == "bad failed: board-1 failed: out of memory\n"
    assert main(["manifest", str(folder), "--interrupted"]) == 0
    assert json.loads((folder / "manifest.json").read_text())["status"] == "interrupted"


def test_after_a_run_that_succeeded_manifest_says_how_to_see_its_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = build_run(tmp_path / "runs", "good", manifest=False)
    experiment = json.loads((folder / "run.json").read_text())["experiment"]
    assert main(["manifest", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"\nNext: cluster-kit compare runs/*-{experiment}-w*\n")


def test_manifest_of_what_is_no_run_is_an_error(tmp_path, capsys):
    assert main(["manifest", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err


@pytest.mark.parametrize("watts", ["nan", "inf", "-1", "1e999", "12W", ""])
@pytest.mark.parametrize(
    "command", [["energy", "--switch-watts"], ["manifest", "--switch-watts"], ["watch", "--every"]]
)
def test_an_amount_that_cannot_be_is_refused(tmp_path, capsys, command, watts):
    with pytest.raises(SystemExit):
        main([command[0], str(tmp_path), f"{command[1]}={watts}"])
    assert f"{watts!r} is not a valid amount: give a number, 0 or more" in capsys.readouterr().err


def test_who_has_seen_enough_hears_no_more():
    command = f"{shlex.quote(sys.executable)} -m analysis compare tests/data/rehearsal/*"
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("141\n", "")
