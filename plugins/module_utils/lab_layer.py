"""A board's own files: the upper layer of its overlay, laid over this machine's root file system
before the board starts. A folder marked opaque shows nothing of this machine's.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePath

from .lab_processes import LabError, run

USER = "board"
USER_ID = 47077  # of user and group; not one that a user of this machine has files under
VENV = "/opt/cluster-kit/venv"  # where the boards' Python environment is on a board
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"

SSHD_CONFIG = """\
ListenAddress {address}
HostKey {host_key}
PidFile /run/sshd.pid
AuthorizedKeysFile /etc/ssh/authorized_keys
AuthenticationMethods publickey
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
AllowUsers root {user} {password_user}
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""
SSHD_PASSWORD = """\
Match User {user}
AuthorizedKeysFile .ssh/authorized_keys
AuthenticationMethods publickey password
PasswordAuthentication yes
"""
SUDOERS = """\
Defaults env_reset
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
root ALL=(ALL:ALL) ALL
{rules}
@includedir /etc/sudoers.d
"""


class Layer:
    """The files of one board."""

    def __init__(self, upper: Path) -> None:
        self.upper = upper
        upper.mkdir(parents=True, exist_ok=True)
        upper.chmod(0o755)

    def path(self, path: str | PurePath) -> Path:
        """Returns where the board's `path` is on this machine."""
        return self.upper / str(path).lstrip("/")

    def folder(self, path: str | PurePath, mode: int | None = None, owner: int = 0, opaque: bool = False) -> Path:
        """Makes a folder and those above it; they take this machine's mode and owner if any."""
        here = self.path(path)
        if not here.is_dir():
            if PurePath(path).parent != PurePath(path):
                self.folder(PurePath(path).parent)
            here.mkdir()
            try:
                below = os.lstat(path)
            except OSError:
                below = None
            if below and stat.S_ISDIR(below.st_mode):
                here.chmod(stat.S_IMODE(below.st_mode))
                os.chown(here, below.st_uid, below.st_gid)
            else:
                here.chmod(0o755)
        if mode is not None:
            here.chmod(mode)
            os.chown(here, owner, owner)
        if opaque:
            os.setxattr(here, "trusted.overlay.opaque", b"y")
        return here

    def file(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of root's."""
        self.folder(PurePath(path).parent)
        here = self.path(path)
        here.unlink(missing_ok=True)
        here.touch(mode=mode)
        here.chmod(mode)
        here.write_text(text)

    def hide(self, path: str | PurePath) -> None:
        """Makes that the board does not have what this machine has there."""
        here = self.folder(PurePath(path).parent) / PurePath(path).name
        os.mknod(here, stat.S_IFCHR, os.makedev(0, 0))  # an overlay's sign for a deleted file

    def mount_point(self, path: str) -> None:
        """Makes a folder to mount on, and lets the board's user reach it."""
        self.folder(path)
        for above in PurePath(path).parents:
            if not self.path(above).stat().st_mode & stat.S_IXOTH:
                self.path(above).chmod(0o711)


def settings_of(python_env: str) -> dict[str, str]:
    """Returns a virtual environment's settings, which name its interpreter."""
    lines = Path(python_env, "pyvenv.cfg").read_text().splitlines()
    return {name: value for name, value in (re.split(r"\s*=\s*", line, maxsplit=1) for line in lines if "=" in line)}


def interpreter_folders(python_env: str) -> list[str]:
    """Returns the folders, besides /usr, that the environment's interpreter lives in.

    Raises:
        LabError: this is no virtual environment.
    """
    remedy = (
        f"make it with 'python3.8 -m venv {python_env}' and install requirements/board.txt in it, "
        "or name another one with -e lab_python_env=DIR"
    )
    try:
        settings = settings_of(python_env)
        prefix = Path(settings["home"]).parent
    except (OSError, KeyError) as error:
        raise LabError(f"lab_python_env={python_env} is not a Python environment: {remedy}") from error
    if not Path(python_env, "bin/python").exists():
        raise LabError(
            f"lab_python_env={python_env} has no working bin/python (its interpreter was in "
            f"{settings['home']}): {remedy}"
        )
    # Some installers link to the folder from a version's name: the link's path must work as well.
    prefixes = sorted({prefix, prefix.resolve()})
    return [str(path) for path in prefixes if not path.is_relative_to("/usr")]


@dataclass(frozen=True)
class Login:
    """A user who logs in with a password."""

    user: str
    password: str

    def shadow(self) -> str:
        """Returns the user's line of /etc/shadow."""
        crypted = run(["openssl", "passwd", "-6", "-stdin"], text=self.password + "\n").strip()
        return f"{self.user}:{crypted}:::::::\n"


def write_layer(
    upper: Path,
    name: str,
    address: str,
    public_key: str,
    hidden: list[str],
    mounted: list[str],
    login: Login | None = None,
    sudo: bool = False,
) -> None:
    """Writes what a board has of its own.

    Args:
        upper: the overlay's upper folder on this machine; what it holds already stays
        public_key: who may log in
        hidden: folders of this machine that are empty on the board
        mounted: folders that something will be mounted on
        login: who may log in with a password, and with it use sudo
        sudo: whether the board's ordinary user may use sudo, without a password
    """
    layer = Layer(upper)
    layer.folder("/root", mode=0o700, opaque=True)
    layer.folder("/home", mode=0o755, opaque=True)
    layer.folder(f"/home/{USER}", mode=0o755, owner=USER_ID)
    layer.folder("/etc/ssh", mode=0o755, opaque=True)
    layer.folder("/etc/cluster-kit", mode=0o755, opaque=True)
    kit = PurePath(VENV).parent
    if VENV in mounted:
        layer.folder(kit, mode=0o755, owner=USER_ID, opaque=True)
    elif Path(kit).exists() and not layer.path(kit).exists():  # this machine's
        layer.hide(kit)
    for path in hidden:
        if PurePath(path).parts[1] not in ("root", "home"):  # hidden with all below them
            layer.folder(path, mode=0o755, opaque=True)
    for path in mounted:
        layer.mount_point(path)

    layer.file("/etc/hostname", f"{name}\n")
    layer.file("/etc/hosts", f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n")
    users = {USER: USER_ID, **({login.user: USER_ID + 1} if login else {})}
    for file, entry in (("/etc/passwd", "{0}:x:{1}:{1}::/home/{0}:/bin/bash"), ("/etc/group", "{0}:x:{1}:")):
        lines = Path(file).read_text().splitlines()
        others = [line for line in lines if line.split(":")[0] not in users]
        layer.file(file, "\n".join([*others, *(entry.format(*user) for user in users.items()), ""]))
    shadow = f"root:*:::::::\n{USER}:*:::::::\n"  # nobody's password
    layer.file("/etc/shadow", shadow + (login.shadow() if login else ""), mode=0o600)
    if login:
        layer.folder(f"/home/{login.user}", mode=0o755, owner=USER_ID + 1)
    if login or sudo:
        rules = [f"{USER} ALL=(ALL:ALL) NOPASSWD: ALL"] * sudo + [f"{login.user} ALL=(ALL:ALL) ALL" if login else ""]
        layer.folder("/etc/sudoers.d", mode=0o755, opaque=True)
        layer.file("/etc/sudoers", SUDOERS.format(rules="\n".join(rules)), mode=0o440)

    layer.file("/etc/ssh/authorized_keys", public_key)
    layer.file(
        "/etc/ssh/sshd_config",
        SSHD_CONFIG.format(address=address, host_key=HOST_KEY, user=USER, password_user=login.user if login else "")
        + (SSHD_PASSWORD.format(user=login.user) if login else ""),
    )
    key = layer.path(HOST_KEY)
    if not key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)])
