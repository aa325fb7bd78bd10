"""What a command printed on a board, without what login scripts there print before and after it.

bash reads ~/.bashrc for each command that ssh brings, and people's files speak there: a line of ROS, a window's title,
an stty that finds no terminal. So each command says where its own words begin and end. An `action` is one of Ansible's
plugins of that kind, which knows its host and connection.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

BEGIN, END = "---cluster-kit-answer-begins---", "---cluster-kit-answer-ends---"
_PIECE = 1 << 21  # bytes; Ansible's ssh joins what it reads in a time that grows with the square


def marked(command: str) -> str:
    """A command of a POSIX shell that also prints where the words of the given one begin and end, on a line each."""
    # what came before may lack the end of its line
    begin, end = (f"printf '\\n%s\\n' {word}" for word in (BEGIN, END))
    return f"{begin}; {begin} >&2\n{command}\nset -- $?; {end}; {end} >&2; exit $1"


def own_words(printed: str) -> str:
    """What a marked command itself printed, to either stream; all of it where it came to no word of its own.

    Where ssh gave the board a terminal, both streams are one, and lines end as on a terminal.
    """
    _, begun, after = printed.rpartition(f"{BEGIN}\r\n")
    if begun:
        after = after.replace("\r\n", "\n")
    else:
        _, begun, after = printed.rpartition(f"{BEGIN}\n")
    return after.partition(f"\n{END}\n")[0] if begun else printed


def ask(action: Any, command: str, **options: Any) -> dict[str, Any]:
    """Run a command on the action's host as Ansible runs its own; its answer has rc, stdout and stderr."""
    done: dict[str, Any] = action._low_level_execute_command(marked(command), **options)
    return {**done, **{stream: own_words(done.get(stream) or "") for stream in ("stdout", "stderr")}}


def fetch(action: Any, path: str, size: int, take: Callable[[bytes], object]) -> None:
    """Read a file of the given size (bytes) on the action's host. Raises OSError where not all of it arrives.

    Not with SFTP, which words of a login script break: sshd has the user's shell start its server, too.
    """
    for offset in range(0, size, _PIECE):
        length = min(_PIECE, size - offset)
        script = marked(f"tail -c +{offset + 1} -- {shlex.quote(path)} | head -c {length}")
        code, printed, errors = action._connection.exec_command(f"/bin/sh -c {shlex.quote(script)}", sudoable=False)
        content = printed.partition(f"\n{BEGIN}\n".encode())[2]
        if code or content[length:].partition(f"\n{END}\n".encode())[0] or len(content) < length:
            why = " ".join(own_words(errors.decode(errors="replace")).split()) or f"exit code {code}"
            raise OSError(f"{path} could not be read from byte {offset} on: {why}")
        take(content[:length])
