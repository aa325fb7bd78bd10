"""The way back from enrolment: a board lets the controller in no more, and the controller forgets the board's key."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller import known_hosts
from controller.answer import marked, own_words
from controller.connection import UnreachedError
from controller.enrol import (
    Board,
    RefusalError,
    access,
    last_line,
    open_connection,
    public_key,
    require_sense,
    run,
    run_as_root,
    shown,
)

KEY, RULE, PIN = "key", "sudo rule", "host key"  # what enrolment leaves, in the order in which it is taken back

# $1 is the line with the public key, the others are paths. Prints what of it is there, a line each.
_LOOK = """
LC_ALL=C; export LC_ALL; rule=/etc/sudoers.d/cluster-kit; line=$1; shift; cd
if grep -axqFe "$line" .ssh/authorized_keys 2>/dev/null; then echo key; fi
if sudo -kn true 2>/dev/null; then
  echo root
  if sudo -kn test -e $rule; then echo rule; fi
elif [ -e $rule ]; then echo rule
elif [ -d ${rule%/*} ] && [ ! -x ${rule%/*} ]; then echo hidden
fi
for path; do if [ -e "$path" ]; then echo "at $path"; fi; done
"""

_REMOVE_RULE = "rule=/etc/sudoers.d/cluster-kit; if [ -e $rule ]; then rm $rule && echo removed; fi"

# $1 is the line. The new file has the mode and owner of the old one; what enrolment made goes if nothing is left in it.
_REMOVE_KEY = """
set -eu; umask 077; LC_ALL=C; cd
file=$(readlink -f .ssh/authorized_keys); new=$file.cluster-kit
trap 'rm -f "$new"' EXIT
cp -p "$file" "$new"
grep -avxFe "$1" "$file" >"$new" || [ $? = 1 ]
mv "$new" "$file"
if [ ! -s .ssh/authorized_keys ] && [ ! -h .ssh/authorized_keys ]; then
  rm .ssh/authorized_keys
  [ -h .ssh ] || rmdir .ssh 2>/dev/null || true
fi
"""


def unenrol(board: Board, traces: Sequence[str], look: bool, found: dict[str, Any]) -> None:
    """Take back what enrolment did, or only look. Raises RefusalError, or an OSError of the controller's.

    The sudo rule goes first and the host key last, so that a board of which not all could be taken back is still
    reached. `found` says what was found and done, also where that ends with an error: changed, wants_password, taken
    (KEY, RULE, PIN), remarks, sentences for people, and pinned, the number of host keys that are pinned for others.

    Args:
        traces: paths on the board that provisioning leaves.
    """
    known = board.known()
    pins = [pin for pin in known if not pin.marker]
    found["pinned"] = len(known_hosts.read(Path(board.known_hosts)).pins) - len(pins)
    if not pins:  # then nobody enrolled it from here, or it was taken back
        return
    require_sense(board, known)
    own = any(known_hosts.own(pin, board.to.name) for pin in pins)
    found["remarks"] += [
        f"{board.known_hosts}, line {pin.line}, is for other hosts than {board.address} as well, and stays"
        for pin in pins
        if not known_hosts.own(pin, board.to.name)
    ]
    if _lets_in(board, pins):
        _take_back_on_board(board, traces, look, found)
    else:
        found["remarks"].append(
            f"{board.address} does not let {board.private_key_file} in, so that nothing was looked for on it; if "
            "somebody removed the key there by hand, sudo rm /etc/sudoers.d/cluster-kit removes the rest"
        )
    found["taken"] += [PIN] * own
    found["changed"] = bool(found["taken"])
    if own and not look:
        found["pinned"] = known_hosts.remove(Path(board.known_hosts), board.to.name)


def _lets_in(board: Board, pins: list[known_hosts.Pin]) -> bool:
    """Whether the board lets the controller's key in. Raises RefusalError where it is not known."""
    forget = f"ssh-keygen -f {shlex.quote(board.known_hosts)} -R {shlex.quote(board.to.name)}"
    try:
        with open_connection(board, pins) as (transport, _):
            host_key = transport.get_remote_server_key()
    except UnreachedError as error:
        raise RefusalError(
            f"{error}; then unenrol it again. If it is gone for good, forget its host key with {forget}"
        ) from error
    if host_key.asbytes() not in [pin.blob for pin in pins]:
        raise RefusalError(
            f"{board.address} has the host key {shown(host_key)}, but {' and '.join(pin.shown for pin in pins)} is "
            "pinned: if you reflashed the board, nothing of the kit is left on it, so only forget the old key with "
            f"{forget}; if not, another machine answers in its place"
        )
    lets_in, _, detail = access(board, board.known_hosts)
    refuses = any(words in detail for words in ("Permission denied", "Too many authentication"))
    if not lets_in and not (refuses and Path(board.private_key_file).exists()):
        raise RefusalError(
            f"{board.address} has the pinned host key, and yet Ansible's ssh cannot log in with "
            f"{board.private_key_file} ({detail}): where that key is lost, remove the line that ends with cluster-kit "
            "from ~/.ssh/authorized_keys on the board, sudo rm /etc/sudoers.d/cluster-kit there, and forget its host "
            f"key with {forget}"
        )
    return lets_in


def _take_back_on_board(board: Board, traces: Sequence[str], look: bool, found: dict[str, Any]) -> None:
    line = public_key(board)
    lines = _answer(board, _LOOK, line, *traces).splitlines()
    left = [each.removeprefix("at ") for each in lines if each.startswith("at ")]
    if left:
        found["remarks"].append(
            f"{board.address} is still provisioned: it has {', '.join(left)}. playbooks/restore.yml -e purge=true puts "
            "it back, and needs the key and sudo: run it first, or enrol the board again for it"
        )
    has_key, has_rule, hidden = (word in lines for word in ("key", "rule", "hidden"))
    needs_password = (has_rule or hidden) and "root" not in lines
    found["wants_password"] = needs_password and not board.password
    if look:
        found["taken"] = [KEY] * has_key + [RULE] * has_rule
        return
    if found["wants_password"]:
        raise RefusalError(
            f"sudo on {board.address} asks {board.user} for a password, and none was given: run the playbook in a "
            "terminal, which asks for it, or set enrol_password with Ansible Vault"
        )
    has_rule = (has_rule or hidden) and "removed" in run_as_root(board, _REMOVE_RULE, free=not needs_password)
    found["changed"], found["taken"] = has_rule, [RULE] * has_rule
    if has_key:
        _answer(board, _REMOVE_KEY, line)
        found["changed"], found["taken"] = True, [KEY, *found["taken"]]
    if access(board, board.known_hosts)[0]:
        found["remarks"].append(
            f"{board.address} still lets {board.private_key_file} in: a line of ~/.ssh/authorized_keys has it with "
            "another comment or with options, or sshd_config names another file; enrolment did not write that, so it "
            "stays"
        )


def _answer(board: Board, script: str, *arguments: str) -> str:
    """What a script prints that runs on the board as the account. Raises RefusalError where it fails."""
    done = run(board, board.known_hosts, f"sh -c {shlex.quote(marked(script))} sh {shlex.join(arguments)}")
    if done.returncode:
        raise RefusalError(
            f"{board.user}@{board.address} cannot change ~/.ssh/authorized_keys "
            f"({last_line(own_words(done.stderr))}): see that it is the user's own and that there is space, and repeat"
        )
    return own_words(done.stdout)
