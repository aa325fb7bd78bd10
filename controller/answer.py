"""A command's output from a board, without the output of login scripts.

bash reads ~/.bashrc for each command over ssh, and users' files print there: a line of ROS, a window's title, an error
of stty. So each command marks the beginning and end of its output. An `action` is an Ansible action plugin, which knows
its host and connection.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

BEGIN, END = "---cluster-kit-answer-begins---", "---cluster-kit-answer-ends---"
_PIECE = 1 << 21  # bytes; Ansible's ssh takes quadratic time to join longer output


def marked(command: str) -> str:
    """The shell command (POSIX), which also prints a line before and after its output."""
    # earlier output may lack a newline
    begin, end = (f"printf '\\n%s\\n' {word}" for word in (BEGIN, END))
    return f"{begin}; {begin} >&2\n{command}\nset -- $?; {end}; {end} >&2; exit $1"


def own_words(printed: str) -> str:
    """A marked command's own output of either stream; all output if the marks are missing.

    With a terminal, both streams are one, and lines end with carriage returns.
    """
    _, begun, after = printed.rpartition(f"{BEGIN}\r\n")
    if begun:
        after = after.replace("\r\n", "\n")
    else:
        _, begun, after = printed.rpartition(f"{BEGIN}\n")
    return after.partition(f"\n{END}\n")[0] if begun else printed


def ask(action: Any, command: str, **options: Any) -> dict[str, Any]:
    """Run a command on the action's host as Ansible does; returns rc, stdout and stderr."""
    done: dict[str, Any] = action._low_level_execute_command(marked(command), **options)
    return {**done, **{stream: own_words(done.get(stream) or "") for stream in ("stdout", "stderr")}}


def fetch(action: Any, path: str, size: int, take: Callable[[bytes], object]) -> None:
    """Read a file of the given size (bytes) on the action's host. Raises OSError if it is incomplete.

    SFTP would break on login scripts that print: sshd starts its server in the user's shell.
    """
    for offset in range(0, size, _PIECE):
        length = min(_PIECE, size - offset)
        script = marked(f"tail -c +{offset + 1} -- {shlex.quote(path)} | head -c {length}")
        code, printed, errors = action._connection.exec_command(f"/bin/sh -c {shlex.quote(script)}", sudoable=False)
        content = printed.partition(f"\n{BEGIN}\n".encode())[2]
        if code or content[length:].partition(f"\n{END}\n".encode())[0] or len(content) < length:
            why = " ".join(own_words(errors.decode(errors="replace")).split()) or f"exit code {code}"
            raise OSError(f"{path} cannot be read from byte {offset} on: {why}")
        take(content[:length])
