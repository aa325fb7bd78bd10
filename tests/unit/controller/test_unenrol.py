"""Taking enrolment back, as far as it needs no board: the scripts, and what is told of which board."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from analysis import AnalysisError
from controller import unenrol
from controller.connection import UnreachedError
from tests.unit.controller.test_enrol import board, make_key, pin

LINE = "ssh-ed25519 AAAAnew cluster-kit"
PATH = "/usr/sbin:/usr/bin:/bin"


def script(text: str, home: Path, *arguments: str, path: str = PATH) -> str:
    command = ["sh", "-c", text, "sh", *arguments]
    return subprocess.run(
        command, env={"HOME": str(home), "PATH": path}, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    "others",
    [
        b"# mine\nssh-rsa AAAAold mine\n",
        b'ssh-ed25519 AAAAnew again\nfrom="10.0.0.1" ssh-ed25519 AAAAnew cluster-kit\n',
        b"#ssh-ed25519 AAAAnew cluster-kit\nssh-ed25519 AAAAnew cluster-kit \nssh-rsa AAAA K\xfcche\0\n",
    ],
)
def test_only_the_line_that_enrolment_wrote_is_removed(tmp_path: Path, others: bytes) -> None:
    keys = tmp_path / ".ssh/authorized_keys"
    keys.parent.mkdir(0o750)
    keys.write_bytes(f"{LINE}\n".encode() + others + f"{LINE}\n".encode())
    keys.chmod(0o640)
    script(unenrol._REMOVE_KEY, tmp_path, LINE)
    assert keys.read_bytes() == others
    assert [path.stat().st_mode & 0o777 for path in (keys, keys.parent)] == [0o640, 0o750]
    assert list(keys.parent.iterdir()) == [keys]


def test_what_enrolment_made_is_removed_where_nothing_else_came_into_it(tmp_path: Path) -> None:
    keys = tmp_path / ".ssh/authorized_keys"
    keys.parent.mkdir()
    keys.write_text(f"{LINE}\n")
    (tmp_path / ".ssh/config").touch()
    script(unenrol._REMOVE_KEY, tmp_path, LINE)
    assert [path.name for path in keys.parent.iterdir()] == ["config"]
    (tmp_path / ".ssh/config").unlink()
    keys.write_text(f"{LINE}\n")
    script(unenrol._REMOVE_KEY, tmp_path, LINE)
    assert not list(tmp_path.iterdir())


def test_a_link_to_the_keys_stays(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{LINE}\n")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").symlink_to("../keys")
    script(unenrol._REMOVE_KEY, tmp_path, LINE)
    assert (tmp_path / "keys").read_text() == "" and (tmp_path / ".ssh/authorized_keys").is_symlink()


def test_a_look_tells_what_is_there(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    keys, sudo = tmp_path / ".ssh/authorized_keys", tmp_path / "bin/sudo"
    sudo.parent.mkdir()
    keys.write_text(f"ssh-rsa AAAA mine\n{LINE}\n")
    for answers, expected in (("exit 1", ["key"]), ("true", ["key", "root", "rule"])):  # as if the rule were there
        sudo.write_text(f"#!/bin/sh\n{answers}\n")
        sudo.chmod(0o755)
        there = script(
            unenrol._LOOK, tmp_path, LINE, str(tmp_path), str(tmp_path / "no"), path=f"{sudo.parent}:{PATH}"
        ).splitlines()
        assert [each for each in there if each != "hidden"] == [*expected, f"at {tmp_path}"]
    keys.write_text(f"{LINE} again\n")
    assert "key" not in script(unenrol._LOOK, tmp_path, LINE).splitlines()


class World:
    """A board that is pinned and what it answers, in place of ssh."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.key, _ = make_key(folder)
        self.pins, self.asked = folder / "known_hosts", list[str]()
        self.there, self.lets_in, self.says, self.presents = ["key"], [True, False], "", self.key
        (folder / "id").touch()
        (folder / "id.pub").write_text(f"ssh-ed25519 {self.key.get_base64()} cluster-kit\n")
        self.board = board(
            self.pins, password="", private_key_file=str(folder / "id"), public_key_file=str(folder / "id.pub")
        )
        pin(self.pins, "192.168.1.11", self.key)
        pin(self.pins, "192.168.1.12", self.key)

        @contextmanager
        def connection(*_: Any) -> Any:
            yield SimpleNamespace(get_remote_server_key=lambda: self.presents), None

        monkeypatch.setattr(unenrol, "open_connection", connection)
        monkeypatch.setattr(unenrol, "access", lambda *_: (self.lets_in.pop(0), False, self.says))
        monkeypatch.setattr(unenrol, "run", self.run)
        monkeypatch.setattr(unenrol, "run_as_root", self.root)

    def run(self, board: Any, known_hosts: str, command: str) -> Any:
        self.asked.append("look" if "echo key" in command else "remove key")
        assert "192.168.1.11" in self.pins.read_text(), "the host key goes last"
        return subprocess.CompletedProcess([], 0, "\n".join(self.there), "")

    def root(self, board: Any, script: str, free: bool) -> str:
        self.asked.append("remove rule")
        return "removed" if "rule" in self.there else ""

    def unenrol(self, look: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = {"changed": False, "wants_password": False, "taken": [], "remarks": []}
        unenrol.unenrol(self.board, ["/opt/cluster-kit"], look, found)
        return found

    @property
    def pinned(self) -> list[str]:
        return [line.split()[0] for line in self.pins.read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_the_rule_goes_first_and_the_host_key_last_and_a_second_time_changes_nothing(world: World) -> None:
    world.there = ["key", "root", "rule"]
    found = world.unenrol()
    assert world.asked == ["look", "remove rule", "remove key"] and world.pinned == ["192.168.1.12"]
    assert found["taken"] == ["key", "sudo rule", "host key"] and found["changed"] and found["pinned"] == 1
    again = world.unenrol()
    assert len(world.asked) == 3 and not again["changed"] and again["pinned"] == 1


def test_a_look_changes_nothing_and_says_what_is_still_provisioned(world: World) -> None:
    world.there = ["key", "rule", "at /opt/cluster-kit"]
    found = world.unenrol(look=True)
    assert world.asked == ["look"] and len(world.pinned) == 2
    assert found["taken"] == ["key", "sudo rule", "host key"] and found["wants_password"]
    (remark,) = found["remarks"]
    assert "still provisioned: it has /opt/cluster-kit. playbooks/restore.yml" in remark


@pytest.mark.parametrize("there", [["key", "rule"], ["key", "hidden"]])
def test_a_password_is_needed_where_sudo_asks_and_a_rule_may_be_there(world: World, there: list[str]) -> None:
    world.there = there
    with pytest.raises(unenrol.RefusalError, match=r"sudo on 192\.168\.1\.11 asks nvidia for a password, and none"):
        world.unenrol()
    assert world.asked == ["look"] and len(world.pinned) == 2


def test_without_a_rule_sudo_is_not_asked(world: World) -> None:
    assert world.unenrol()["taken"] == ["key", "host key"]
    assert world.asked == ["look", "remove key"]


def test_a_key_that_still_lets_in_is_told(world: World) -> None:
    world.there, world.lets_in = [], [True, True]
    found = world.unenrol()
    assert found["taken"] == ["host key"] and "remove key" not in world.asked
    assert "192.168.1.11 still lets" in found["remarks"][0]


def test_a_board_that_refuses_the_key_is_forgotten_and_that_is_told(world: World) -> None:
    world.lets_in, world.says = [False], "nvidia@192.168.1.11: Permission denied (publickey,password)."
    found = world.unenrol()
    assert found["taken"] == ["host key"] and world.pinned == ["192.168.1.12"] and not world.asked
    assert "sudo rm /etc/sudoers.d/cluster-kit removes the rest" in found["remarks"][0]


def test_a_lost_key_and_another_failure_of_ssh_forget_nothing(world: World) -> None:
    world.lets_in, world.says = [False, False], "Connection closed"
    with pytest.raises(unenrol.RefusalError, match=r"cannot log in with .*id \(Connection closed\)"):
        world.unenrol()
    world.says = "Permission denied"
    Path(world.board.private_key_file).unlink()
    with pytest.raises(unenrol.RefusalError, match="where that key is lost, remove the line"):
        world.unenrol()
    assert len(world.pinned) == 2


def test_another_host_key_is_refused_with_the_command_that_forgets_the_old_one(world: World, tmp_path: Path) -> None:
    world.presents, _ = make_key(tmp_path)
    with pytest.raises(unenrol.RefusalError, match=r"only forget the old key with ssh-keygen -f .* -R 192"):
        world.unenrol()
    assert not world.asked


def test_a_board_out_of_reach_is_told_with_the_remedy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreached(*_: Any) -> Any:
        raise UnreachedError("192.168.1.11 cannot be reached (no answer in 5 s): check the board's power")

    monkeypatch.setattr(unenrol, "open_connection", unreached)
    with pytest.raises(AnalysisError, match=r"cannot be reached .* gone for good, forget its host key with ssh-keygen"):
        world.unenrol()
    assert len(world.pinned) == 2


def test_a_line_for_other_hosts_too_stays_and_is_told(world: World) -> None:
    world.pins.write_text(world.pins.read_text().replace("192.168.1.11", "192.168.1.11,orin-1"))
    assert "known_hosts, line 1, is for other hosts" in world.unenrol()["remarks"][0]
    world.lets_in, world.says = [False], "Permission denied"
    assert not world.unenrol()["changed"] and len(world.pinned) == 2
