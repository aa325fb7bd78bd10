"""What a run needs to go on after it was stopped, and when it cannot."""

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis.runs.manifest import write_manifest
from controller import resume
from controller.resolve import resolve
from tests.data.litter import copy_beside, litter
from tests.unit.controller.test_resolve import request as new_run
from trainer.contract.checkpoints import Place, path_of
from trainer.contract.config import ConfigError
from trainer.contract.layout import CHECKPOINTS, attempts
from trainer.formats import checkpoint

RUN = "20261121T120000Z-short-w2-s1"


@pytest.fixture
def project(tmp_path):
    """A checkout with a preset that needs no network, and one run of it that failed."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "short.yml").write_text(
        "epochs: 9\ndata: {source: synthetic, train_images: 200, validation_images: 100}\nmodel: {weights: none}\n"
    )
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "__init__.py").write_text("")
    made = resolve(request(tmp_path, resume=None))["run"]
    folder = tmp_path / "runs" / RUN
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({**made, "run_id": RUN}))
    (folder / "manifest.json").write_text('{"status": "failed"}')
    return tmp_path


def request(project, **changes):
    return new_run(project, **{"boards": ["a", "b", "c"], "resume": RUN, "given": [], **changes})


def problems(project, **changes) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(request(project, **changes))
    return caught.value.problems


def left_by(project, board, *, recorded, kept, torn=()):
    """What an attempt left: epochs with a record, with a checkpoint, and with a torn one."""
    home = project / "runs" / RUN / "boards" / board
    checkpoints = checkpoint.Checkpoints(home)
    home.mkdir(parents=True)
    lines = [{"event": "start"}]
    for epoch in range(1, recorded + 1):
        lines += [{"event": "window", "epoch": epoch}, {"event": "epoch", "epoch": epoch}]
    lines.append({"event": "window", "epoch": recorded + 1})
    (home / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"event": "win')
    (home / "trainer.log").write_text("what happened\n")
    for epoch in sorted([*kept, *torn]):
        checkpoints.save(Place(epoch), [np.full(100, epoch)])
    checkpoints.wait()
    for epoch in torn:
        path = path_of(home / CHECKPOINTS, Place(epoch))
        path.write_bytes(path.read_bytes()[:-50])


def epochs_of(board):
    return [json.loads(line)["epoch"] for line in (board / "events.jsonl").read_text().splitlines() if "epoch" in line]


def test_it_goes_on_with_what_it_began_with(project):
    (project / "trainer" / "__init__.py").write_text("changed = True")
    (project / "experiments" / "short.yml").write_text("epochs: 1")
    answer = resolve(request(project))
    assert answer["run"]["run_id"] == RUN and answer["run"]["config"]["epochs"] == 9
    assert answer["run_dir"] == str(project / "runs" / RUN) and answer["board_dir"] == f"/opt/kit/runs/{RUN}"
    assert answer["trainer"]["path"].endswith(answer["run"]["trainer_sha256"][:16])
    assert [asset["path"] for asset in answer["assets"]] == [answer["run"]["assets"]["dataset"]["path"]]


def test_every_reason_against_it_is_told_at_once(project):
    (project / "runs" / RUN / "manifest.json").write_text('{"status": "succeeded"}')
    for archive in (project / ".cache").glob("trainer-*"):
        archive.unlink()
    found = problems(project, boards=["a"], given=["workers", "override"])
    assert len(found) == 5
    for words in (
        "workers is given",
        "override is given",
        "b is not among the boards",
        "has succeeded",
        "no longer in",
    ):
        assert sum(words in problem for problem in found) == 1, found


@pytest.mark.parametrize(
    ("commit", "dirty", "named"),
    [
        ("bf7e712", False, "commit bf7e712, whose"),
        ("bf7e712", True, "commit bf7e712 with uncommitted changes, whose"),
        (None, None, "one that was not in git, whose"),
    ],
)
def test_a_run_of_the_version_before_is_refused_with_that_version_and_what_to_do(project, commit, dirty, named):
    left_by(project, "a", recorded=2, kept=[2])
    folder = project / "runs" / RUN
    made = json.loads((folder / "run.json").read_text())
    made["config"]["sync"]["way"] = made["config"]["sync"].pop("method")
    (folder / "run.json").write_text(json.dumps({**made, "schema": 1, "git_commit": commit, "git_dirty": dirty}))
    for archive in (project / ".cache").glob("trainer-*"):
        archive.unlink()  # another reason, which comes to the same
    (problem,) = problems(project)
    begins = f"{RUN} was started with the previous version of the kit, {named} trainer"
    assert problem.startswith(begins), problem
    assert "check that version out in this folder, run 'make setup' and the same command" in problem
    assert not (folder / "attempts").exists()


def test_a_folder_that_is_no_run_is_refused(project):
    (problem,) = problems(project, resume="yesterday")
    assert "'yesterday'" in problem


def test_a_run_that_was_not_collected_is_collected_first(project):
    """By the playbook, between the two steps; only then it is known whether it has succeeded after all."""
    folder = project / "runs" / RUN
    (folder / "manifest.json").unlink()
    assert resolve(request(project))["run_dir"] == str(folder)
    for board in ("a", "b"):
        left_by(project, board, recorded=4, kept=[3, 4])
        result = {"status": "succeeded", "cause": None, "exit_code": 0, "started_s": 1.0, "ended_s": 2.0}
        result |= {"epochs_completed": 9, "facts": {}, "cause_kind": None, "remedy": None}
        (folder / "boards" / board / "result.json").write_text(json.dumps(result))
    with pytest.raises(ConfigError, match="has succeeded: there is nothing to resume"):
        resume.begin(folder)


def test_it_goes_on_from_the_last_epoch_that_all_boards_completed(project):
    left_by(project, "a", recorded=4, kept=[3, 4])
    left_by(project, "b", recorded=3, kept=[2, 3])
    folder = project / "runs" / RUN
    assert resume.begin(folder) == Place(3)
    for board in ("a", "b"):
        home = folder / "boards" / board
        assert epochs_of(home) == [1, 1, 2, 2, 3, 3]
        assert checkpoint.Checkpoints(home).newest()[0] == Place(3)
        assert sorted(path.name for path in home.iterdir()) == ["checkpoints", "events.jsonl"]
        before = folder / "attempts/1/boards" / board
        assert (before / "trainer.log").exists() and '{"event": "win' in (before / "events.jsonl").read_text()
    assert json.loads((folder / "attempts/1/manifest.json").read_text())["status"] == "failed"
    assert not (folder / "manifest.json").exists()


class CutError(BaseException):
    """The controller lost its power."""


class Cuts:
    """Lets the first operations on files of a folder pass; the next one and all later ones fail, until `end`.

    With `torn`, a file that is opened for writing then is there, but empty.
    """

    _KINDS = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.truncate")

    def __init__(self):
        self.left, self.folder, self.torn = None, "", False
        sys.addaudithook(self._hear)  # for good

    def begin(self, folder, passing, torn):
        self.folder, self.torn, self.left = str(folder), torn, passing

    def end(self):
        """Whether there was a cut."""
        left, self.left = self.left, None
        return left < 0

    def _hear(self, event, arguments):
        if self.left is None or not self._changes(event, arguments):
            return
        self.left -= 1
        if self.left < 0:
            if event == "open" and self.torn:
                left, self.left = self.left, None
                Path(arguments[0]).write_bytes(b"")
                self.left = left
            raise CutError

    def _changes(self, event, arguments):
        if event == "open":
            writes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            return writes and str(arguments[0]).startswith(self.folder)
        # rmtree names files by their folder's descriptor
        return event in self._KINDS and (str(arguments[0]).startswith(self.folder) or arguments[-1] != -1)


CUTS = Cuts()


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize("epoch", [3, 0])
def test_wherever_resuming_is_cut_it_comes_to_the_same_end(project, tmp_path, epoch, torn):
    left_by(project, "a", recorded=4, kept=[3, 4])
    left_by(project, "b", recorded=3, kept=[2, 3] if epoch else [1, 2])
    folder, template = project / "runs" / RUN, tmp_path / "template"
    (folder / "lost.json").write_text('{"board": "b"}')
    shutil.copytree(folder, template)
    steps = 0
    while True:
        shutil.rmtree(folder)
        shutil.copytree(template, folder)
        CUTS.begin(folder, steps, torn)
        try:
            resume.begin(folder)
        except CutError:
            pass
        finally:
            cut = CUTS.end()
        if cut and steps % 2:  # as the playbooks do, which fetch from boards and collect
            resolve(request(project))
            resolve(request(project, resume=None, run_id=RUN))
            for board in ("a", "b"):
                (folder / "boards" / board).mkdir(parents=True, exist_ok=True)
            write_manifest(folder)
        assert not cut or resume.begin(folder) == Place(epoch)
        for board in ("a", "b"):
            home = folder / "boards" / board
            if epoch:
                assert epochs_of(home) == [1, 1, 2, 2, 3, 3], steps
                assert checkpoint.Checkpoints(home).newest()[0] == Place(3)
            else:
                assert list(home.iterdir()) == [], steps
            before = folder / "attempts/1/boards" / board
            assert (before / "trainer.log").exists() and '{"event": "win' in (before / "events.jsonl").read_text()
            assert not (before / "checkpoints").exists()
        assert sorted(path.name for path in (folder / "attempts").iterdir()) == ["1"], steps
        assert sorted(path.name for path in folder.iterdir()) == ["attempts", "boards", "run.json"], steps
        assert json.loads((folder / "attempts/1/manifest.json").read_text())["status"] == "failed"
        assert steps % 2 or (folder / "attempts/1/lost.json").exists()  # collecting forgets which board was lost
        if not cut:
            break
        steps += 1
    assert steps > 15, "operations that were cut"


def test_a_failure_of_the_attempt_before_is_put_aside(project):
    """Followers that find one give their boards twenty seconds to end."""
    left_by(project, "a", recorded=2, kept=[2])
    left_by(project, "b", recorded=2, kept=[2])
    folder = project / "runs" / RUN
    (folder / "lost.json").write_text('{"board": "b"}')
    resume.begin(folder)
    assert not (folder / "lost.json").exists() and (folder / "attempts/1/lost.json").exists()


def test_it_goes_on_within_an_epoch_from_a_checkpoint_that_all_boards_have(project):
    for board, more in (("a", [40, 80]), ("b", [40])):
        left_by(project, board, recorded=2, kept=[2])
        home = project / "runs" / RUN / "boards" / board
        kept = checkpoint.Checkpoints(home)
        lines = [{"event": "generation", "epoch": 2, "number": 2}]  # older records of a place have no images
        for images in more:
            lines += [{"event": "window", "epoch": 3, "images": 9}]
            lines += [{"event": "checkpoint", "epoch": 2, "images": images}]
            kept.save(Place(2, images), [np.full(100, images)])
        kept.wait()
        lines += [{"event": "window", "epoch": 3, "images": 9}]
        with (home / "events.jsonl").open("a") as file:
            file.write("\n" + "".join(json.dumps(line) + "\n" for line in lines))
    folder = project / "runs" / RUN
    assert resume.begin(folder) == Place(2, 40)
    for board in ("a", "b"):
        home = folder / "boards" / board
        kinds = [json.loads(line)["event"] for line in (home / "events.jsonl").read_text().splitlines()]
        assert kinds == ["start", *["window", "epoch"] * 2, "window", "checkpoint"]
        assert checkpoint.Checkpoints(home).newest()[0] == Place(2, 40)


def start_of(home):
    """Give a board's records a start as a trainer writes it."""
    lines = (home / "events.jsonl").read_text().splitlines()
    start = {"event": "start", "board": home.name, "rank": {"a": 0, "b": 1}[home.name]}
    (home / "events.jsonl").write_text("\n".join([json.dumps(start), *lines[1:]]) + "\n")


@pytest.mark.parametrize("collected", [True, False], ids=["its files are here", "nothing of it is here"])
def test_another_board_takes_the_place_of_a_lost_one(project, collected):
    folder = project / "runs" / RUN
    left_by(project, "a", recorded=3, kept=[2, 3])
    start_of(folder / "boards/a")
    if collected:
        left_by(project, "b", recorded=3, kept=[2])
        start_of(folder / "boards/b")
    answer = resolve(request(project, replace={"b": "c"}))
    assert answer["run"]["boards"] == ["a", "c"]
    assert json.loads((folder / "run.json").read_text())["boards"] == ["a", "b"], "nothing has begun"
    assert resume.begin(folder, {"b": "c"}) == Place(3), "what the lost one has does not matter"
    assert json.loads((folder / "run.json").read_text())["boards"] == ["a", "c"]
    assert json.loads((folder / "attempts/1/run.json").read_text())["boards"] == ["a", "b"]
    home = folder / "boards/c"
    assert sorted(path.name for path in (folder / "boards").iterdir()) == ["a", "c"]
    _, arrays = checkpoint.Checkpoints(home).newest()
    assert checkpoint.Checkpoints(home).newest()[0] == Place(3) and arrays[0][0] == 3
    first, *rest = [json.loads(line) for line in (home / "events.jsonl").read_text().splitlines()]
    assert (first["event"], first["board"], first["rank"]) == ("start", "c", 1)
    assert [line["epoch"] for line in rest] == [*([1, 1, 2, 2, 3, 3] if collected else []), 3]
    assert rest[-1]["event"] == "checkpoint"
    (folder / "manifest.json").write_text('{"status": "failed"}')
    assert resume.begin(folder) == Place(3), "also before it has made an epoch"


def test_a_board_that_cannot_take_a_place_is_refused(project):
    left_by(project, "a", recorded=3, kept=[3])
    assert problems(project, replace={"x": "c"}) == ["replace has x, but the run is on a, b: name one of these"]
    (told,) = problems(project, replace={"b": "a"})
    assert told.startswith("replace has a instead of b: give another board of the inventory")
    (told,) = problems(project, replace={"b": "d"})
    assert told.startswith("replace names d, but d is not among the boards: add it to the inventory")
    assert "replace has all boards of the run" in problems(project, replace={"a": "c", "b": "d"})[0]
    assert problems(project, replace="c")[0].startswith("replace is 'c', but it names a board for each lost one")
    assert problems(project, resume=None, replace={"b": "c"})[0].startswith("replace is given without resume")


def test_a_torn_checkpoint_is_passed_over_on_all_boards(project):
    left_by(project, "a", recorded=4, kept=[3, 4])
    left_by(project, "b", recorded=4, kept=[3], torn=[4])
    assert resume.begin(project / "runs" / RUN) == Place(3)


def test_a_checkpoint_whose_epoch_has_no_record_is_passed_over(project):
    left_by(project, "a", recorded=4, kept=[3, 4])
    left_by(project, "b", recorded=3, kept=[3, 4])
    assert resume.begin(project / "runs" / RUN) == Place(3)


def test_without_a_common_checkpoint_it_begins_again(project):
    left_by(project, "a", recorded=4, kept=[3, 4])
    folder = project / "runs" / RUN
    assert resume.begin(folder) == Place(0)  # nothing came from b
    assert all(list((folder / "boards" / board).iterdir()) == [] for board in ("a", "b"))


def test_the_second_time_it_goes_on_from_the_second_attempt(project):
    for board in ("a", "b"):
        left_by(project, board, recorded=2, kept=[1, 2])
    folder = project / "runs" / RUN
    resume.begin(folder)
    (folder / "manifest.json").write_text('{"status": "interrupted"}')
    assert resume.begin(folder) == Place(2)
    assert sorted(path.name for path in (folder / "attempts").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("name", [f"runs/{RUN}", f"../runs/{RUN}", f"{RUN}/", RUN[:-1] + "3", f"/elsewhere/{RUN}"])
def test_a_name_that_is_almost_that_of_a_run_gets_the_one_that_was_meant(project, name):
    for asked_by, given in (("resume", {"resume": name}), ("run_id", {"resume": None, "run_id": name})):
        (problem,) = problems(project, **given)
        assert problem.startswith(f"{asked_by} is {name!r}, but ")
        assert problem.endswith(f"give the name of one in {project / 'runs'}: did you mean {RUN}?")


@pytest.mark.parametrize("name", ["..", ".", "x" * 5000, "\0", "~nosuchuser/x"])
def test_whatever_is_given_as_a_run_is_refused_in_a_sentence(project, name):
    (problem,) = problems(project, resume=name)
    assert "is not the folder of a run: give the name of one in" in problem


def test_the_addresses_are_checked_of_a_run_that_goes_on_too(project):
    (problem,) = problems(project, addresses=["10.0.0.1", "nvidia@10.0.0.2", "fd00::3"])
    assert problem.startswith("training_address of b is 'nvidia@10.0.0.2': it has a user")


def test_what_systems_leave_changes_nothing(project):
    for board in ("a", "b"):
        left_by(project, board, recorded=3, kept=[2, 3])
    folder = project / "runs" / RUN
    (folder / "attempts/1").mkdir(parents=True)
    before = resolve(request(project))
    copy_beside(folder)
    litter(folder)
    litter(project / "trainer")
    (folder / "attempts/1 copy").mkdir()
    assert resolve(request(project)) == before
    assert problems(project, resume=f"{RUN} copy") == [
        f"resume is '{RUN} copy', but that folder has the run {RUN}: give that name"
    ]
    assert resume.begin(folder) == Place(3)
    assert [path.name for path in attempts(folder)] == ["1", "2"]
    for board in ("a", "b"):
        assert sorted(path.name for path in (folder / "boards" / board).iterdir()) == ["checkpoints", "events.jsonl"]


def test_a_board_is_given_the_trainers_source_and_nothing_else(project):
    (project / "trainer/contract").mkdir()
    (project / "trainer/contract/config.py").write_text("x = 1\n")
    before = resolve(request(project, resume=None))["trainer"]
    litter(project / "trainer")
    (project / "trainer/.ipynb_checkpoints/config-checkpoint.py").write_text("x = 2\n")
    assert resolve(request(project, resume=None))["trainer"] == before


def test_of_a_run_that_lost_boards_the_records_that_count_are_kept(tmp_path):
    events = [("start", None), ("epoch", 1), ("epoch", 2), ("window", 3), ("epoch", 3)]
    events += [("generation", 2), ("resume", 2), ("window", 3), ("epoch", 3), ("epoch", 4)]
    lines = [json.dumps({"event": kind, "number": place, "epoch": epoch}) for place, (kind, epoch) in enumerate(events)]
    (tmp_path / "events.jsonl").write_text("".join(line + "\n" for line in lines))
    kept = [json.loads(line) for line in resume._records_until(Place(3), tmp_path / "events.jsonl").splitlines()]
    assert [(it["event"], it["number"]) for it in kept] == [
        ("start", 0),
        ("epoch", 1),
        ("epoch", 2),
        ("resume", 6),
        ("window", 7),
        ("epoch", 8),
    ]
