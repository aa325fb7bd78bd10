"""Studies: what they consist of, what of it is there, and how long the rest takes."""

import json
from collections import Counter

import pytest
import yaml

from analysis.runs.errors import AnalysisError
from controller.study import left_s, lost, seconds_of, slots, states
from tests import PROJECT
from trainer.contract.config import parse, to_dict

BOARDS = ["a", "b"]
ARMS = {"one": {"workers": 1}, "keras": {"workers": 2}, "fast": {"workers": 2, "override": {"epochs": 3}}}


@pytest.fixture
def project(tmp_path):
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/paper.yml").write_text("epochs: 2\n")
    (tmp_path / "studies").mkdir()
    (tmp_path / "runs").mkdir()
    return tmp_path


def write(project, **changes):
    study = {"repeats": 3, "order_seed": 7, "arms": ARMS, "factors": ["epochs"], **changes}
    (project / "studies/own.yml").write_text(yaml.safe_dump(study))
    return project


def make(project, slot, number, status="succeeded", **changes):
    """A run of the slot that took 60 s."""
    folder = project / f"runs/20261121T12{number:02}00Z-paper-w{slot.workers}-s{slot.repeat}"
    folder.mkdir()
    config = to_dict(parse({"epochs": 2, **slot.override, **changes}))
    run = {"study": slot.name, "workers": slot.workers, "seed": slot.repeat, "config": config}
    (folder / "run.json").write_text(json.dumps(run))
    if status:
        names = ("cause", "boards", "rehearsal", "synthetic", "started_s")
        began_s = 1_795_262_400 + 60 * number  # 2026-11-21 12:00 UTC
        manifest = {"schema": 1, "status": status, "ended_s": began_s + 60.0, **dict.fromkeys(names), "boards": []}
        (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_every_repeat_has_every_arm_with_its_seed_in_an_order_of_its_own(project):
    planned = slots("own", write(project), BOARDS)
    assert Counter((slot.arm, slot.repeat) for slot in planned) == Counter((a, r) for a in ARMS for r in (1, 2, 3))
    assert [slot.repeat for slot in planned] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert planned == slots("own", project, BOARDS), "the order follows from order_seed"
    orders = {tuple(slot.arm for slot in slots("own", write(project, order_seed=s), BOARDS)) for s in range(20)}
    assert len(orders) > 10
    fast = next(slot for slot in planned if slot.name == "own/fast/2")
    assert (fast.workers, fast.experiment, fast.override) == (2, "paper", {"epochs": 3})


def test_a_run_of_the_version_before_is_one_of_its_study(project):
    slot = slots("own", write(project), BOARDS)[0]
    path = make(project, slot, 0) / "run.json"
    run = json.loads(path.read_text())
    run["config"]["sync"]["way"] = run["config"]["sync"].pop("method")
    path.write_text(json.dumps({**run, "schema": 1}))
    assert [state.succeeded is not None for state in states([slot], project / "runs", project)] == [True]


def test_all_that_is_wrong_with_a_study_is_told_at_once(project):
    arms = {
        "one": {"wrokers": 1},
        "many": {"workers": 3},
        "odd": {"workers": 2, "override": {"epohcs": 3}},
        "gone": {"workers": 1, "experiment": "nowhere"},
    }
    with pytest.raises(AnalysisError) as error:
        slots("own", write(project, repeats=0, arms=arms, order="x"), BOARDS)
    said = str(error.value)
    for part in (
        "unknown key order; did you mean order_seed?",
        "repeats is 0; give 1 or more",
        "unknown key arms.one.wrokers; did you mean workers?",
        "arms.one.workers is missing",
        "arms.many: workers is 3, but there are 2 boards",
        "arms.odd: unknown key epohcs; did you mean epochs?",
        "arms.gone: experiment is 'nowhere'; presets in experiments/: paper",
    ):
        assert part in said, part
    with pytest.raises(AnalysisError, match="study is 'none'; studies in studies/: own"):
        slots("none", project, BOARDS)


def test_every_run_keeps_what_the_study_declared_before(project):
    declared = {"factors": ["epochs", "power_mode"], "primary": "fast"}
    assert all(slot.design == declared for slot in slots("own", write(project, **declared), BOARDS))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"factors": []}, "the arms differ in epochs, so that their runs would not be compared: list it under factors"),
        ({"factors": ["epochs", "batch_sise"]}, 'factors has "batch_sise".*or power_mode: did you mean batch_size'),
        ({"factors": ["epochs", "data.train_images"]}, "factors has data.train_images, but arms that differ in images"),
        ({"factors": ["epochs", 7]}, "factors has 7"),
        ({"factors": "epochs"}, 'factors is "epochs" \\(text\\); give a list'),
        ({"primary": "fats"}, "primary is 'fats'; give one of the arms: fast, keras, one"),
    ],
)
def test_a_design_that_could_not_be_compared_is_refused_before_the_first_run(project, changes, says):
    with pytest.raises(AnalysisError, match=says):
        slots("own", write(project, **changes), BOARDS)


def test_a_study_may_lie_anywhere(project):
    write(project)
    (project / "studies/own.yml").rename(project / "mine.yml")
    assert slots(str(project / "mine.yml"), project, BOARDS)[0].study == "mine"


def test_runs_that_are_there_count_once(project):
    planned = slots("own", write(project), BOARDS)
    first, second, third, fourth, *_ = planned
    failed, good = make(project, first, 1, "failed"), make(project, first, 2)
    make(project, second, 3)
    only_failed, begun = make(project, third, 4, "interrupted"), make(project, fourth, 5, None)
    found = states(planned, project / "runs", project)
    assert [state.slot for state in found] == planned
    assert (found[0].succeeded, found[0].tried) == (good, [failed])
    assert found[1].succeeded is not None
    assert (found[2].succeeded, found[2].tried) == (None, [only_failed])
    assert (found[3].succeeded, found[3].tried) == (None, [])
    assert lost("own", project / "runs") == [begun] and lost("ow", project / "runs") == []


def test_a_run_from_before_a_field_was_added_counts(project):
    planned = slots("own", write(project), BOARDS)
    folder = make(project, planned[0], 1)
    run = json.loads((folder / "run.json").read_text())
    del run["config"]["sync"]["bucket_bytes"], run["config"]["window_steps"]
    (folder / "run.json").write_text(json.dumps(run))
    assert states(planned, project / "runs", project)[0].succeeded == folder
    run["config"]["bygone"] = 1
    (folder / "run.json").write_text(json.dumps(run))
    with pytest.raises(AnalysisError, match="but with another version of the configuration"):
        states(planned, project / "runs", project)


def test_a_run_of_another_configuration_is_not_counted_silently(project):
    planned = slots("own", write(project), BOARDS)
    make(project, planned[0], 1, batch_size=32)
    with pytest.raises(AnalysisError, match=r"is a run of own/.*/1, but with another batch_size: move its folder away"):
        states(planned, project / "runs", project)


def test_the_time_left_is_that_of_the_arms_whose_runs_are_missing(project):
    planned = slots("own", write(project), BOARDS)
    assert left_s(states(planned, project / "runs", project), {}) is None
    expected = {"one": 10.0, "keras": 100.0, "fast": 1000.0}
    assert left_s(states(planned, project / "runs", project), expected) == pytest.approx(3 * 1110)
    for number, slot in enumerate(planned[:3]):
        make(project, slot, number)
    assert left_s(states(planned, project / "runs", project), expected) == pytest.approx(6 * 60), "as they were"


def test_a_run_of_which_nobody_told_the_end_does_not_tell_how_long_it_takes(project):
    planned = slots("own", write(project), BOARDS)
    manifest = make(project, planned[0], 1) / "manifest.json"
    assert seconds_of(manifest.parent) == 60
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "ended_s": None}))
    assert seconds_of(manifest.parent) is None
    assert left_s(states(planned, project / "runs", project), {}) is None


def test_a_run_whose_folder_was_renamed_does_not_tell_how_long_it_takes(project):
    planned = slots("own", write(project), BOARDS)
    folder = make(project, planned[0], 1)
    renamed = folder.rename(folder.with_name("the good one"))
    assert states(planned, project / "runs", project)[0].succeeded == renamed
    assert seconds_of(renamed) is None


def test_the_kits_own_studies_are_sound():
    for path in sorted((PROJECT / "studies").glob("*.yml")):
        arms = {"strategies": 7, "servers": 4, "engines": 6, "rehearsal": 4}.get(path.stem, 3)
        assert len(slots(path.stem, PROJECT, [*BOARDS, "another"])) == 3 * arms, path.stem


@pytest.mark.parametrize(
    "name", ["paper.yml", "../own", "studies/own.yml", "onw", "~nosuchuser/own.yml", "/nowhere/own.yml"]
)
def test_a_study_that_is_almost_known_gets_the_one_that_was_meant(project, name):
    write(project)
    with pytest.raises(AnalysisError) as error:
        slots(name, project, BOARDS)
    told = f"study is {name!r}; studies in studies/: own; give one, or the path of a .yml file"
    assert str(error.value) == told + ("" if name == "paper.yml" else ": did you mean own?")


@pytest.mark.parametrize("name", ["", "x" * 5000 + ".yml", "\0.yml", "x" * 300 + ".yml"])
def test_whatever_is_given_as_a_study_is_refused_in_a_sentence(project, name):
    with pytest.raises(AnalysisError, match="studies in studies/: own"):
        slots(name, write(project), BOARDS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "repeats: 010\norder_seed: 1_0\narms: {one: {workers: 1:30}}\n",
            'repeats is "010" \\(text\\); give a whole number',
        ),
        ("repeats: 010\norder_seed: 1_0\narms: {one: {workers: 1:30}}\n", 'order_seed is "1_0"'),
        ("repeats: 010\norder_seed: 1_0\narms: {one: {workers: 1:30}}\n", 'arms.one.workers is "1:30"'),
        (
            "repeats: 3\norder_seed: 1\narms: {}\nrepeats: 4\n",
            r"own\.yml, line 4: repeats is given twice, in lines 1 and 4",
        ),
        ("repeats: 3\narms:\n  one: {workers: 1}\n  one: {workers: 2}\n", r"own\.yml, line 4: arms.one is given twice"),
        ("repeats: 3\n\tarms: {}\n", r"own\.yml is not YAML, line 2: it is indented with a tab"),
        ("repeats: 3 # f\xfcr", r"own\.yml, line 1: the byte 0xfc is not UTF-8"),
        ("- repeats: 3\n", r"own\.yml: is \[.*\] \(a list\); give a mapping of experiment, repeats"),
        ("", r"own\.yml: is null; give a mapping"),
        ("a: !!python/name:os.system\n", "it has the tag"),
    ],
)
def test_a_study_is_read_as_a_person_sees_it(project, text, says):
    (project / "studies/own.yml").write_bytes(text.encode("latin-1"))
    with pytest.raises(AnalysisError, match=says):
        slots("own", project, BOARDS)


def test_arms_may_have_numbers_and_words_of_yaml_as_names(project):
    (project / "studies/own.yml").write_text("repeats: 1\norder_seed: 1\narms: {1: {workers: 1}, no: {workers: 2}}\n")
    assert {slot.name for slot in slots("own", project, BOARDS)} == {"own/1/1", "own/no/1"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"repeats": 2**32}, "repeats is 4294967296, each of them a run of every arm; give 1000 or less"),
        ({"order_seed": -1}, "order_seed is -1; give 0 to 4294967295"),
        ({"order_seed": 2**32}, "order_seed is 4294967296; give 0 to 4294967295"),
        ({"arms": {"a\nb": {"workers": 1}}}, "give a name without / and line breaks"),
        ({"arms": {" ": {"workers": 1}}}, "give a name without / and line breaks"),
    ],
)
def test_numbers_and_names_of_a_study_have_limits(project, changes, says):
    with pytest.raises(AnalysisError, match=says):
        slots("own", write(project, **changes), BOARDS)
    assert slots("own", write(project, order_seed=2**32 - 1), BOARDS)


def test_a_torn_preset_is_all_that_is_told_of_an_arm(project):
    (project / "experiments/paper.yml").write_text("model: {fine_tune: head\n")
    arms = {"one": {"workers": 1, "override": {"model": {"cache_features": True}}}}
    with pytest.raises(AnalysisError) as error:
        slots("own", write(project, arms=arms), BOARDS)
    (told,) = str(error.value).splitlines()
    assert told.startswith("own.yml: arms.one: experiments/paper.yml is not YAML, line ")
