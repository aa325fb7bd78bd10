"""Compares an emulated board with its settings, and changes it where it differs."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import lab_link
from .lab_dress import dress_layer, is_dressed
from .lab_dresses import DRESSES, compose
from .lab_layer import HOST_KEY, USER, VENV, Layer, Login, interpreter_folders, write_layer
from .lab_processes import (
    DROPPED_CAPABILITIES,
    PATH,
    LabError,
    Owner,
    end_owners,
    end_ssh_masters,
    inside,
    owners,
    run,
    start,
)
from .lab_share import entered, give_share, has_share

FACTS = "/etc/cluster-kit/emulated.json"  # on the board: says that and how it is emulated
START_TIMEOUT_S = 20.0  # a board needs about 0.1 s; a busy machine more


@dataclass(frozen=True)
class Board:
    """A board's settings: the options of the module emulated_board."""

    name: str
    lab_dir: str
    address: str
    link_rate: str
    core: int
    share: float  # of that core
    init: str
    public_key_file: str
    python_env: str
    hidden: list[str]
    more_envs: dict[str, str]
    dress: str = ""
    dress_files: str = ""
    password: str = ""
    password_user: str = ""

    @property
    def login(self) -> Login | None:
        """Who may log in with a password."""
        return Login(self.password_user, self.password) if self.password else None

    @property
    def folder(self) -> Path:
        """The folder of the board's files on this machine."""
        return Path(self.lab_dir, "boards", self.name)

    @property
    def host(self) -> str:
        """The address without the prefix length."""
        return str(ipaddress.ip_interface(self.address).ip)

    @property
    def cpu(self) -> int:
        """The number of the core it runs on."""
        usable = sorted(os.sched_getaffinity(0))
        return usable[self.core % len(usable)]

    @property
    def public_key(self) -> str:
        """The key that may log in; empty if there is none yet."""
        path = Path(self.public_key_file)
        return path.read_text() if path.exists() else ""

    def placed(self) -> list[str]:
        """The prefix of a command that runs on the board's part of the machine."""
        return [*entered(self.lab_dir, self.name), "taskset", "--cpu-list", str(self.cpu)]

    def part(self) -> dict[str, Any]:
        """Returns the settings with which a running board must have been started to keep it."""
        return {
            "board": self.name,
            "address": self.address,
            "cpu": self.cpu,
            "public_key": self.public_key,
            "mounts": self.mounts(),
            "hidden": self.hidden,
            "dress": self.dress,
            # A digest: a process's environment shows this.
            "login": hashlib.sha256(repr(self.login).encode()).hexdigest(),
            # A folder that was deleted and made again has another number; the board has the old.
            "inodes": [_inode(path) for path in (self.folder / "upper", *map(Path, self.python_envs().values()))],
        }

    def mounts(self) -> list[tuple[str, str]]:
        """Returns the folders of this machine and where the board has them, read-only."""
        envs = self.python_envs()
        folders = sorted({path for env in (self.python_env, *envs.values()) for path in interpreter_folders(env)})
        return [*((path, path) for path in folders), *((env, path) for path, env in envs.items())]

    def python_envs(self) -> dict[str, str]:
        """Returns where the board has which of this machine's Python environments.

        A dressed board gets its own by provisioning, of the same interpreter.
        """
        return {**({} if self.dress else {VENV: self.python_env}), **self.more_envs}

    def python(self) -> str:
        """Returns the path of the boards' Python on the board, its interpreter's where there is no environment."""
        return (
            f"{VENV}/bin/python" if VENV in self.python_envs() else str(Path(self.python_env, "bin/python").resolve())
        )


def present(board: Board, check: bool) -> dict[str, Any]:
    """Makes the board run with its settings; with `check`, only returns the changes.

    Returns the module's result.
    """
    rate_bit_per_s = lab_link.bit_per_s(board.link_rate)
    actions = []
    if not has_share(board.lab_dir, board.name, board.share):
        actions.append("set its share of the core")
    if not check:
        give_share(board.lab_dir, board.name, board.share)
    init = _running(board)
    if init is None:
        actions.append("started")
        if check:
            return _result(board, actions)
        init = _start(board)

    switch = next((owner for owner in owners(board.lab_dir) if "interface" in owner.part), None)
    if switch is None:
        raise LabError("the lab's switch is not running: run lab_up")
    ends = ((switch.pid, lab_link.port(board.host)), (init.pid, "eth0"))
    if not all(lab_link.shaped_bit_per_s(*end) for end in ends):
        actions.append("connected the link")
        if not check:
            prefix = ipaddress.ip_interface(board.address).network.prefixlen
            lab_link.connect(switch.pid, init.pid, board.host, prefix, rate_bit_per_s)
            if board.dress and DRESSES[board.dress].jetson:
                lab_link.connect_as_orin(switch.pid, init.pid, board.host)
    elif not all(lab_link.is_shaped(*end, rate_bit_per_s) for end in ends):
        actions.append("set the link rate")
        if not check:
            for end in ends:
                lab_link.shape(*end, rate_bit_per_s)

    facts = json.dumps({"emulated": True, "link_rate_bit_per_s": rate_bit_per_s, "core_share": board.share})
    on_board = inside(init.pid, "mount")
    if run([*on_board, "sh", "-c", f"cat {FACTS} || true"]).strip() != facts:
        actions.append("wrote its facts")
        if not check:
            run([*on_board, "tee", FACTS], text=facts + "\n")

    booting = board.dress and actions and not check
    if not (_answers_soon(board.host) if booting else _answers(board.host)):
        actions.append("started sshd")
        if not check:
            _start_sshd(board, init)
    return _result(board, actions)


def _result(board: Board, actions: list[str]) -> dict[str, Any]:
    public = board.folder / "upper" / f"{HOST_KEY.lstrip('/')}.pub"
    host_key = " ".join(public.read_text().split()[:2]) if public.exists() else ""
    return {"actions": actions, "core": board.cpu, "share": board.share, "host_key": host_key}


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.exists() else None


def _parts(lab_dir: str, name: str) -> list[Owner]:
    return [owner for owner in owners(lab_dir) if owner.part.get("board") == name]


def _is_built(owner: Owner) -> bool:
    """Tells whether a board's first process has finished the file system and waits.

    A dressed board's goes by the name systemd.
    """
    try:
        return owner.is_init and Path(f"/proc/{owner.pid}/comm").read_text().strip() in ("tini", "systemd")
    except OSError:
        return False


def _running(board: Board) -> Owner | None:
    """Returns the board's first process, if it was built as wanted."""
    wanted = json.loads(json.dumps(board.part()))
    built = [owner for owner in _parts(board.lab_dir, board.name) if _is_built(owner)]
    return next((owner for owner in built if owner.part == wanted), None)


def _start(board: Board) -> Owner:
    """Restarts the board with its files, and returns its first process."""
    if not board.public_key:
        raise LabError(f"there is no {board.public_key_file}: run lab_down, then lab_up")
    end_owners(_parts(board.lab_dir, board.name))
    end_ssh_masters(board.host)
    if board.folder.exists() and not is_dressed(board.folder / "upper", board.dress):
        shutil.rmtree(board.folder)
    for folder in ("upper", "work", "root"):
        (board.folder / folder).mkdir(parents=True, exist_ok=True)
    mounts = board.mounts()
    write_layer(
        board.folder / "upper",
        board.name,
        board.host,
        board.public_key,
        board.hidden,
        [target for _, target in mounts],
        board.login,
        sudo=bool(board.dress),
    )
    dress_files = compose(board.dress, Path(board.dress_files), Path(board.lab_dir)) if board.dress else Path()
    if board.dress:
        dress_layer(Layer(board.folder / "upper"), board.dress, dress_files, Path(board.lab_dir))
    # A dressed board reboots: its network outlives its other namespaces, as a cable does.
    lasting = ["unshare", "--net", "--uts", "--", "sh", f"{dress_files}/power.sh", board.address]
    process = start(
        [
            *board.placed(),
            *(lasting if board.dress else ()),
            *("unshare", *(() if board.dress else ("--net", "--uts")), "--mount", "--pid", "--ipc"),
            *("--fork", "--kill-child", "--propagation", "private", "--"),
            *("sh", board.init, board.name, DROPPED_CAPABILITIES, str(dress_files) if board.dress else ""),
            *(path for mount in mounts for path in mount),
        ],
        board.lab_dir,
        board.part(),
        board.folder,
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        init = _running(board)
        if init:
            _require_python(board, init)
            return init
        time.sleep(0.01)
    end_owners(_parts(board.lab_dir, board.name))
    log = (board.folder / "init.log").read_text().strip()
    raise LabError(f"it did not start: {log or 'no reason given'}; run lab_down, then lab_up")


def _require_python(board: Board, init: Owner) -> None:
    """Tries the boards' Python as the board's user."""
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    try:
        run([*inside(init.pid, "mount"), *user, board.python(), "-c", ""])
    except LabError as error:
        raise LabError(
            f"its Python does not work ({error}): create lab_python_env again with a Python that other users can run"
        ) from error


def _answers(host: str) -> bool:
    """Tells whether an ssh server greets there."""
    try:
        with socket.create_connection((host, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def _answers_soon(host: str, timeout_s: float = 5.0) -> bool:
    """Waits for the ssh server that a board starts by itself."""
    deadline = time.monotonic() + timeout_s
    while not (answers := _answers(host)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answers


def _start_sshd(board: Board, init: Owner) -> None:
    sshd = shutil.which("sshd", path=PATH) or "/usr/sbin/sshd"  # sshd insists on its full path
    limited = ["setpriv", f"--bounding-set={DROPPED_CAPABILITIES}"]
    namespaces = inside(init.pid, "mount", "uts", "ipc", "net", "pid")
    subprocess.run(
        [*board.placed(), *namespaces, *limited, sshd, "-E", "/var/log/cluster-kit-sshd.log"],
        env={"PATH": PATH},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        umask=0o022,
        check=False,
    )
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers(board.host):
        if time.monotonic() > deadline:
            log = run([*inside(init.pid, "mount"), "tail", "-n3", "/var/log/cluster-kit-sshd.log"])
            raise LabError(f"its ssh server does not answer on {board.host}: {log.strip()}; run lab_down, then lab_up")
        time.sleep(0.02)
