"""Commands on a board whose login scripts speak: bash as sshd starts it, with a ~/.bashrc."""

import os
import pty
import shlex
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from controller.answer import ask, fetch, marked, own_words
from controller.plugins.clock_offset import ask_time
from trainer.contract import clocks

NOISES = {
    "quiet": "",
    "a line": 'echo "ROS noetic sourced"',
    "no line end": r"printf '\033]0;board\007'",
    "colours": r"printf '\033[1;32mwelcome\033[0m\n'",
    "a JSON object": """echo '{"rc": 1}'; echo 17.5""",
    "errors": "echo \"stty: 'standard input': Inappropriate ioctl for device\" >&2",
    "another folder": "cd /; echo moved",
    "at the end": "trap 'echo bye; echo bye >&2' EXIT",
}


class Board:
    """A board's connection and what Ansible makes of it; `noise` is the board's ~/.bashrc."""

    def __init__(self, home: Path, noise: str) -> None:
        (home / ".bashrc").write_text(f"{noise}\n")
        # by this bash knows a session of ssh, for which it reads ~/.bashrc, though nobody types
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "SSH_CLIENT": "192.0.2.1 1 22"}
        self._connection = SimpleNamespace(exec_command=self.exec_command)

    def exec_command(self, command: str, in_data: bytes | None = None, sudoable: bool = True):
        # in a shell's place bash would end with the command, and its traps with it
        words = ["bash", "-c", f"{command}\nexit $?"]
        done = subprocess.run(words, input=in_data or b"", capture_output=True, env=self.environment)
        return done.returncode, done.stdout, done.stderr

    def _low_level_execute_command(self, command: str, in_data: bytes | None = None, sudoable: bool = True):
        code, printed, errors = self.exec_command(f"/bin/sh -c {shlex.quote(command)}", in_data)
        return {"rc": code, "stdout": printed.decode(), "stderr": errors.decode()}


@pytest.fixture(params=NOISES.values(), ids=NOISES.keys())
def board(request, tmp_path):
    return Board(tmp_path, request.param)


def test_an_answer_is_what_the_command_itself_says(board):
    done = ask(board, "cat; echo; echo problem >&2; (exit 3)", in_data=b"  two\n\nlines")
    assert (done["rc"], done["stdout"], done["stderr"]) == (3, "  two\n\nlines\n", "problem\n")


def test_bash_does_read_the_script(tmp_path):
    """Else the other tests would be in vain."""
    _, printed, _ = Board(tmp_path, NOISES["a line"]).exec_command("true")
    assert printed == b"ROS noetic sourced\n"


def test_a_file_is_fetched_byte_by_byte(board, tmp_path, monkeypatch):
    monkeypatch.setattr("controller.answer._PIECE", 1000)
    content = os.urandom(2500) + b"\n\n"
    (tmp_path / "a file").write_bytes(content)
    pieces: list[bytes] = []
    fetch(board, str(tmp_path / "a file"), len(content), pieces.append)
    assert b"".join(pieces) == content and len(pieces) == 3


def test_a_file_that_is_gone_is_told_without_the_noise(board, tmp_path):
    with pytest.raises(OSError, match="from byte 0 on: tail: cannot open") as caught:
        fetch(board, str(tmp_path / "gone"), 5, [].append)
    assert "stty" not in str(caught.value)


def test_what_came_to_no_word_of_its_own_is_told_whole():
    assert own_words("Permission denied (publickey).") == "Permission denied (publickey)."


def test_on_a_terminal_both_streams_are_one(tmp_path):
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        ["sh", "-c", "echo noise\n" + marked("printf 'two\\nlines\\n'")], stdout=theirs, stderr=theirs
    )
    done.wait()
    os.close(theirs)
    assert own_words(os.read(ours, 4096).decode()) == "two\nlines\n"


def test_a_noisy_board_tells_its_time(board):
    asked = ask_time(board)
    assert isinstance(asked, clocks.Round) and asked.sent_s - 1 < asked.board_s < asked.received_s + 1
