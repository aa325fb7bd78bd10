"""What becomes of the boards' answers, and of those that gave none: findings, waivers, the table."""

import ast
import io
import json
import subprocess
import sys

import pytest
import yaml

from analysis import write_manifest
from controller.gates.answers import read
from controller.gates.judge import GATES, judge
from controller.gates.report import main, report
from controller.gates.survey import sources
from controller.gates.table import lines
from tests import PROJECT
from tests.data.build_runs import build_run
from tests.unit.controller.gates.facts import CAN, GOOD, HELD, NEEDS, R35, TAKEN, request
from trainer.contract.config import ConfigError
from trainer.contract.layout import write_json


def test_a_waived_finding_stays_and_does_not_count():
    boards = {"a": GOOD, "b": {**GOOD, "gpu_mask": {"TPC_PG_MASK": "248"}}}
    said = report(request(boards, waive=["symmetry.gpu_mask"]))
    assert not said["refused"] and said["waived"] == ["symmetry.gpu_mask"]
    assert [(f["gate"], f["waived"]) for f in said["findings"]] == [("symmetry.gpu_mask", True)]
    assert report(request(boards))["refused"]
    assert not report(request(boards, waive="symmetry.gpu_mask,board.disk"))["refused"]


@pytest.mark.parametrize("name", sorted(GOOD))
@pytest.mark.parametrize("value", [["x"], "x", 1e300, {"x": [None]}], ids=str)
def test_odd_facts_of_one_board_are_told_and_the_others_are_judged(name, value):
    asked = request({"a": GOOD, "b": GOOD})
    asked["answers"]["b"]["stdout"] = json.dumps({**json.loads(asked["answers"]["b"]["stdout"]), name: value})
    said = report(asked)
    assert "error" not in said["boards"]["a"]
    json.dumps(said, allow_nan=False)


@pytest.mark.parametrize("printed", ["[" * 100_000, "[]", '{"error": 1}', "1e400", '"x"'])
def test_what_is_no_answer_is_told_of_its_board_alone(printed):
    asked = request({"a": GOOD, "b": GOOD})
    asked["answers"]["b"]["stdout"] = printed
    said = report(asked)
    assert "error" not in said["boards"]["a"] and "it printed" in said["boards"]["b"]["error"]
    assert said["refused"]


def test_a_waiver_of_no_gate_lists_the_gates():
    with pytest.raises(ConfigError, match=r"did you mean symmetry\.gpu_mask\?") as raised:
        judge({"a": GOOD}, NEEDS, waive=["symmetry.gpumask", "x"])
    assert len(raised.value.problems) == 2
    for gate in GATES:
        assert gate in str(raised.value)


def test_the_command_judges_what_the_boards_said():
    boards = {"a": GOOD, "b": {**GOOD, "release": R35.replace("R35", "R32").replace("3.1", "7.1")}}
    asked = request(boards)
    asked["answers"]["c"] = {"unreachable": True, "msg": "ssh: No route\nto host"}
    asked["answers"]["d"] = {"rc": 1, "stdout": "", "stderr": "Traceback\nSyntaxError"}
    asked["needs"] = {name: str(value) for name, value in asked["needs"].items()}  # as -e name=value gives them
    done = subprocess.run(
        [sys.executable, "-m", "controller.gates.report"],
        input=json.dumps(asked),
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    said = json.loads(done.stdout)
    assert done.returncode == 0
    assert [(f["board"], f["gate"]) for f in said["findings"]] == [
        ("b", "board.jetpack"),
        ("c", "board.reachable"),
        ("d", "board.reachable"),
    ]
    text = "\n".join(said["lines"])
    assert "c cannot be reached at 10.0.0.3: ssh: No route to host. Check its power" in text
    assert "L4T 32.7.1" in text and "SyntaxError" in text


@pytest.mark.parametrize(
    ("began_s", "ended_s", "error_s"),
    [(100.5, 100.9, 0.0), (104.0, 104.5, 3.5), (101.0, 101.5, 0.5), (97.0, 97.5, -3.0)],
)
def test_a_clock_is_wrong_by_what_no_delay_explains(began_s, ended_s, error_s):
    said = report(request({"a": {**GOOD, "began_s": began_s, "ended_s": ended_s}}))
    assert said["boards"]["a"]["clock_error_s"] == pytest.approx(error_s)


def test_the_table_is_aligned_and_fits_a_terminal():
    boards = {
        "orin-1": GOOD,
        "orin-2": {**GOOD, "port": {**HELD, "command": "python -m trainer " + "x" * 200}, "swap_used_bytes": 10**10},
    }
    shown = report(request(boards, waive=["board.swap"]))["lines"]
    assert max(map(len, shown)) <= 100
    assert shown[0].split() == ["board", "gate", "found", "wanted"]
    rows = [line for line in shown if line.startswith("orin-2")]
    assert [row.split()[1:3] for row in rows] == [["board.swap", "waived"], ["board.port", "refuse"]]
    assert {row.index(row.split()[2]) for row in rows} == {rows[0].index("waived")}
    assert shown[-1].startswith("1 refused, 1 waived")
    assert report(request({"orin-1": GOOD}))["lines"] == ["orin-1: all gates passed"]


def test_what_was_measured_is_shown_and_what_was_not_is_not():
    measured = [
        {"from": "a", "to": "b", "bit_per_s": 9e8, "round_trip_s": 0.0012, "tool": "iperf3"},
        {"from": "b", "to": "a", "error": "no connection"},
    ]
    assert lines([], ["a", "b"], measured) == [
        "a -> b: 900 Mbit/s (iperf3); b -> a and back: 1.20 ms",
        "a, b: all gates passed",
    ]


def test_a_remedy_of_several_boards_is_given_once_and_values_are_shown_as_they_are():
    odd = {**GOOD, "power_mode": "[bold]MODE_30W"}
    shown = report(request({"orin-1": odd, "orin-2": odd}))["lines"]
    assert [line.split()[3] for line in shown[1:3]] == ["[bold]MODE_30W"] * 2
    assert shown[3:-1] == ["board.power_mode: set it with playbooks/provision.yml --tags power"]


def test_no_remedy_runs_what_resets_pinned_clocks():
    remedies = [(PROJECT / f"controller/gates/{module}.py").read_text() for module in ("board", "judge")]
    for command in ("isolate", "nvpmodel -m", "restart nvpmodel"):
        assert not any(command in text for text in remedies)


def test_needs_are_the_roles_variables():
    defaults = yaml.safe_load((PROJECT / "roles/check/defaults/main.yml").read_text())
    shared = yaml.safe_load((PROJECT / "roles/kit/defaults/main.yml").read_text())
    assert all(f"check_{name}" in defaults or f"kit_{name}" in shared for name in vars(NEEDS))
    assert defaults["check_mtu_bytes"] <= 1466  # of an Orin's eth0
    tasks = yaml.safe_load((PROJECT / "roles/check/tasks/main.yml").read_text())
    said = next(task["vars"]["__check_said"] for task in tasks if "__check_said" in task.get("vars", {}))
    assert said["needs"].keys() == vars(NEEDS).keys()


def test_the_manifest_has_the_gates(tmp_path):
    folder = build_run(tmp_path)
    assert write_manifest(folder)["gates"] is None
    said = report(request({"a": GOOD}, waive=["board.swap"]))
    write_json(folder / "gates.json", said)
    manifest = write_manifest(folder)
    assert manifest["gates"]["waived"] == ["board.swap"]
    assert "gates.json" in manifest["sha256"]


@pytest.mark.parametrize(
    ("answer", "used", "error"),
    [
        ({"rc": 0, "stderr": TAKEN.format("NcclReduce") + "\nbye\n"}, "NcclReduce", None),
        ({"rc": 1, "stderr": TAKEN.format("NcclReduce") + "\nNCCL: unhandled error\n"}, "NcclReduce", "NCCL: unh"),
        ({"rc": 124, "stderr": TAKEN.format("RingReduce")}, "RingReduce", "did not end"),
        ({"unreachable": True, "msg": "no route"}, None, "no route"),
    ],
)
def test_a_trial_of_nccl_is_judged_by_tensorflows_log(answer, used, error):
    asked = {**request({"a": {**GOOD, "nccl": CAN}}), "tried": {"a": answer}}
    told = report(asked)["boards"]["a"]["nccl_trial"]
    assert told["used"] == used
    assert told["error"] is None if error is None else error in told["error"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"rc": 0, "stderr": "warned"}, None),
        (
            {"rc": 1, "stderr": "Traceback\nPyTorch 2.1 is built without torch.distributed\n"},
            "without torch.distributed",
        ),
        ({"rc": 124, "stderr": ""}, "did not end"),
        ({"unreachable": True, "msg": "no route"}, "no route"),
    ],
)
def test_a_trial_of_pytorch_is_judged_by_its_end(answer, error):
    asked = {**request({"a": GOOD}), "torch_tried": {"a": answer}}
    told = report(asked)["boards"]["a"]["torch_trial"]["error"]
    assert told is None if error is None else error in told


def test_a_version_that_yaml_takes_for_a_number_is_refused():
    asked = request({"a": GOOD})
    with pytest.raises(ConfigError, match=r"check_tensorflow is 2\.1, a number, .*: put it in quotes"):
        report({**asked, "needs": {**asked["needs"], "tensorflow": 2.10, "power_mode": 3}})


def test_a_request_that_makes_no_sense_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(request({"a": GOOD}, waive=["no.gate"]))))
    assert main() == 0
    said = json.loads(capsys.readouterr().out)
    assert said["refused"] and "waive names 'no.gate'" in said["lines"][0]


def test_of_an_answer_that_is_none_the_beginning_is_shown():
    facts = read({"rc": 0, "stdout": "x" * 300}, "10.0.0.1")
    assert facts == {"error": f"it printed '{'x' * 200}'", "rc": 0, "address": "10.0.0.1"}


def test_an_address_that_cannot_be_is_told_in_place_of_what_follows_from_it():
    asked = request({"a": GOOD, "b": GOOD})
    training = {**asked["addresses"], "b": "192.168.1.12:22"}
    with pytest.raises(ConfigError, match=r"'192\.168\.1\.12:22': it has a port"):
        report({**asked, "training_addresses": training})


def begun(version, nv_tegra_release="/nowhere"):
    """What the survey's beginning does with a Python that says it is of this version."""
    begin = (PROJECT / "roles/check/files/begin.py").read_text().replace("/etc/nv_tegra_release", nv_tegra_release)
    old = f"import platform, sys; sys.version_info = {version}; platform.python_version = lambda: '3.6.9'; "
    words = [sys.executable, "-I", "-c", f"{old}exec({begin!r})", '{"asked": 1}']
    sources = dict.fromkeys(("trainer/__init__.py", "trainer/supervise/__init__.py"), "")
    sources["trainer/supervise/facts.py"] = "def survey(request):\n    return {'surveyed': request}\n"
    done = subprocess.run(words, input=json.dumps(sources), capture_output=True, text=True, cwd="/")
    return {"rc": done.returncode, "stdout": done.stdout.strip(), "stderr": done.stderr}


def test_a_python_that_can_runs_the_survey():
    assert json.loads(begun((3, 8))["stdout"]) == {"surveyed": {"asked": 1}}


def test_what_is_sent_is_all_that_the_survey_needs(tmp_path):
    """In a folder with nothing of the kit, and with a Python that has nothing but the standard library."""
    begin = (PROJECT / "roles/check/files/begin.py").read_text()
    asked = {
        "address": "127.0.0.1",
        "peers": {},
        "port": 1,
        "python": sys.executable,
        "home": "/opt/kit",
        "sent_s": 1.0,
    }
    words = [sys.executable, "-I", "-S", "-c", begin, json.dumps(asked)]
    sent = json.dumps(sources(str(PROJECT)))
    done = subprocess.run(words, input=sent, capture_output=True, text=True, cwd=tmp_path, check=True)
    said = json.loads(done.stdout)
    assert said["cores"] >= 1 and said["venv"]["packages"]["pyyaml"] and said["own_address"]["address"] == "127.0.0.1"
    assert list(tmp_path.iterdir()) == []


def test_an_old_jetson_is_told_to_be_flashed(tmp_path):
    (tmp_path / "release").write_text("# R32 (release), REVISION: 7.1, GCID: 29818004, BOARD: t210ref\n")
    answer = begun((3, 6), str(tmp_path / "release"))
    assert answer["rc"] == 1
    said = report({**request({"a": GOOD}), "answers": {"a": answer}})
    (finding,) = said["findings"]
    assert (finding["gate"], finding["severity"]) == ("board.jetpack", "refuse")
    assert finding["found"] == "L4T 32.7.1, Python 3.6.9" and "flash JetPack 5.1.1" in finding["remedy"]


def test_what_begins_the_survey_is_of_any_python():
    source = (PROJECT / "roles/check/files/begin.py").read_text()
    ast.parse(source, feature_version=(3, 4))
    assert "f'" not in source and 'f"' not in source and "__future__" not in source


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (begun((3, 6)), "needs Python 3.8 or newer as its python3"),
        ({"rc": 127, "stdout": "", "stderr": "python3: not found"}, "answers at 10.0.0.1, but"),
        ({"rc": 0, "stdout": "hello", "stderr": ""}, "it printed 'hello'"),
        ({"rc": 255, "stdout": "", "stderr": "Connection closed"}, "that it is enrolled"),
    ],
)
def test_a_board_that_answers_without_facts_is_not_taken_for_one_out_of_reach(answer, says):
    (finding,) = report({**request({"a": GOOD}), "answers": {"a": answer}})["findings"]
    assert finding["gate"] == "board.reachable" and says in finding["remedy"]
    assert ("enrolled" in finding["remedy"]) == (answer["rc"] == 255)


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        ({"ended_s": "100.3"}, "ended_s"),
        ({"ended_s": float("nan")}, "ended_s"),
        ({"ended_s": 10**400}, "ended_s"),
        ({"cores": True}, "cores"),
        ({"disk_free_bytes": 1.5}, "disk_free_bytes"),
        ({"routes": {"other": {"dev": "eth0"}}}, "wireless"),
        ({"frequencies_hz": {"policy0": [1, 2, 3]}}, "frequencies_hz"),
        ({"venv": {"tensorflow": "2.12.0", "packages": {"numpy": 1}}}, "packages"),
        ({"throttles": "heat"}, "throttles"),
        ({"lock": {"since_s": "long"}}, "since_s"),
        ({"emulated": []}, "emulated"),
    ],
)
def test_a_fact_of_another_type_costs_this_boards_answer_and_no_others(change, odd):
    said = report(request({"a": GOOD, "b": {**GOOD, **change}}))
    assert [(finding["board"], finding["gate"]) for finding in said["findings"]] == [("b", "board.reachable")]
    assert f"facts with an odd {odd}:" in said["findings"][0]["remedy"] and said["refused"]


@pytest.mark.parametrize("missing", sorted(set(GOOD) - {"jetpack", "clock_error_s"}))
def test_every_fact_is_asked_for(missing):
    facts = {name: value for name, value in GOOD.items() if name != missing}
    assert "error" in read({"rc": 0, "stdout": json.dumps(facts), "received_s": 101.0}, "10.0.0.1")


@pytest.mark.parametrize(
    "printed",
    [
        "not JSON",
        "[" * 5000,
        '[{"from": "a", "to": "b"}]',
        '[{"from": "a", "to": "stranger", "error": "x"}]',
        '[{"from": "a", "to": "b", "bit_per_s": NaN, "round_trip_s": 1.0, "tool": "own"}]',
        "[1]",
    ],
)
def test_a_measurement_that_cannot_be_read_is_told(printed):
    with pytest.raises(ConfigError, match="a board's measurement of its links"):
        report(request({"a": GOOD, "b": GOOD}, measured=[printed]))
