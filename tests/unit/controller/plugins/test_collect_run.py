"""Fetching what a board left; tests/lab has the rest of the collect stage."""

import re
import sys
import tarfile
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail

from tests.unit.actions import Board, action, run


def test_an_odd_file_of_a_board_is_named_and_costs_no_log(tmp_path):
    (tmp_path / "trainer.log").write_text("epoch 1")
    (tmp_path / "latest").symlink_to("trainer.log")

    path = tmp_path / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "latest", "weights/latest")
        archive.add(tmp_path / "trainer.log", "trainer.log")
    collect = action("collect_run", Board())
    (left_out,) = collect._unpack(str(path), path.stat().st_size, tmp_path / "board-1", "r")
    assert left_out == "weights/latest: neither a regular file nor a folder"
    assert [path.name for path in (tmp_path / "board-1").iterdir()] == ["trainer.log"]


def test_a_board_replaces_nothing_that_the_controller_measured(tmp_path):
    home, board = tmp_path / "board-1", tmp_path / "board"
    home.mkdir()
    measured = ("clock.json", "lost.json", "live.json")
    for name in measured:
        (home / name).write_text("measured")
    for name in (
        "clock.json",
        "lost.json",
        "live.json",
        "boards/orin-2/result.json",
        "result.json",
        "weights/final.h5",
    ):
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_text("said")
    path = tmp_path / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(board, ".")
    left_out = action("collect_run", Board())._unpack(str(path), path.stat().st_size, home, "r")
    assert {sentence.partition(": ")[0].removeprefix("./") for sentence in left_out} == {
        "boards",
        "boards/orin-2",
        "boards/orin-2/result.json",
        "clock.json",
        "live.json",
        "lost.json",
    }
    assert {path.relative_to(home).as_posix(): path.read_text() for path in home.rglob("*.*")} == {
        "clock.json": "measured",
        "live.json": "measured",
        "lost.json": "measured",
        "result.json": "said",
        "weights/final.h5": "said",
    }


@pytest.mark.parametrize(
    ("name", "to"), [("trainer.log", "../../manifest.json"), ("weights", "../../.."), ("weights", "/etc")]
)
def test_links_of_a_board_that_lead_out_of_its_folder_are_left_out_and_what_is_behind_them(tmp_path, name, to):
    home = tmp_path / "runs/r/boards/board-1"
    home.mkdir(parents=True)
    path = tmp_path / "r.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo(name)
        link.type, link.linkname = tarfile.SYMTYPE, to
        archive.addfile(link)
        behind = tarfile.TarInfo(f"{name}/escaped")
        archive.addfile(behind)
    action("collect_run", Board())._unpack(str(path), path.stat().st_size, home, "r")
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert {path.relative_to(home).as_posix() for path in tmp_path.rglob("escaped")} == {f"{name}/escaped"}


def test_boards_that_are_named_by_their_addresses_keep_their_logs_apart(tmp_path):
    fetched = []
    for board in ("192.168.1.11", "192.168.1.12"):
        home = tmp_path / "boards" / board
        home.mkdir(parents=True)
        (tmp_path / "trainer.log").write_text(board)

        path = tmp_path / "r.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(tmp_path / "trainer.log", "trainer.log")

        class Watched(Board):
            def exec_command(self, *arguments, **options):
                fetched.append([local.name for local in (tmp_path / "boards").iterdir() if local.is_file()])
                return super().exec_command(*arguments, **options)

        action("collect_run", Watched())._unpack(str(path), path.stat().st_size, home, "r")
        assert (home / "trainer.log").read_text() == board
    # all boards are fetched from at once
    assert fetched == [["192.168.1.11.tar.gz"], ["192.168.1.12.tar.gz"]]
    assert not any(local.is_file() for local in (tmp_path / "boards").iterdir())


@pytest.mark.parametrize("said", ["9" * 14, "-1", "1e3", "9" * 5000])
def test_a_board_that_would_fill_the_controllers_disk_is_told_so(tmp_path, said):
    options = {"run_dir": tmp_path / "r", "board_dir": "/board/r", "trainer_dir": tmp_path, "python": sys.executable}
    with pytest.raises(AnsibleActionFail, match="at most 20000000000 are fetched"):
        run(
            "collect_run",
            Board({"stdout": f"the run is packed {said}"}),
            {name: str(path) for name, path in options.items()},
        )


@pytest.mark.parametrize("place", ["trainer/supervise/supervisor.py", "trainer/supervisor.py"], ids=["now", "before"])
def test_a_run_that_the_version_before_left_on_a_board_is_ended_and_fetched(tmp_path, place):
    board, source = tmp_path / "board/r1", tmp_path / "source"
    board.mkdir(parents=True)
    (board / "tf_config.json").touch()
    (source / place).parent.mkdir(parents=True)
    for package in {source / "trainer", (source / place).parent}:
        (package / "__init__.py").touch()
    (source / place).write_text("import sys; open(sys.argv[2].replace('run.json', 'result.json'), 'w').write('{}')")
    options = {"run_dir": tmp_path / "runs/r1", "board_dir": board, "trainer_dir": source, "python": sys.executable}
    done = run("collect_run", Board(), {name: str(path) for name, path in options.items()})
    assert done["changed"] and not board.exists(), done
    assert (tmp_path / "runs/r1/boards/orin-1/result.json").read_text() == "{}"


def test_nothing_secret_of_a_board_is_fetched_and_no_name_on_it_can_be_foretold(tmp_path):
    board = tmp_path / "board/r1"
    board.mkdir(parents=True)
    for name in ("peers.key", "trainer.log", "run.json"):
        (board / name).write_text(name)
    options = {"run_dir": tmp_path / "runs/r1", "board_dir": board, "trainer_dir": tmp_path, "python": sys.executable}
    asked = Board()
    done = run("collect_run", asked, {name: str(path) for name, path in options.items()})
    assert done["changed"] and not board.exists(), done
    assert [path.name for path in (tmp_path / "runs/r1/boards/orin-1").iterdir()] == ["trainer.log"]
    (archive,) = set(re.findall(r"/dev/shm/r1[.]\w{6}[.]tar[.]gz", " ".join(asked.commands)))
    assert not Path(archive).exists()
