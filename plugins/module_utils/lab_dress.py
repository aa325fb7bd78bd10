"""Dresses a board: adds files of the board that it imitates to the upper layer of its overlay. A dress is a folder:

    bin/ sbin/      programs, installed without their suffix in /usr/bin and /usr/sbin
    units/          all the services that the board has, as systemd's unit files
    network/        how systemd sets up interfaces
    etc/            below /etc
    home/           in each user's home, with a dot before its name
    device-tree/    what the kernel shows in /sys/firmware/devicetree/base
    devices/        what it shows in /sys/devices; gpu.0 can be written
    packages/       a repository per file: its packages, in the syntax of Debian's control files
    installed.control  the packages that a new board has, likewise
    payload/        the packages' files, in a folder per package
    source/         Python packages of source, which provisioning builds (lab_wheels.py)
    boot.sh         starts the services
    kernel.sh       mounts what the kernel shows; power.sh boots, and boots again

Programs are written whenever the board is started; what a user may change, only when it is new.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from .lab_dresses import DRESSES
from .lab_layer import Layer
from .lab_processes import run

MARK = "/etc/cluster-kit/dress"  # on the board: its dress
OWN = (  # nothing of this machine's is in them
    "/etc/apt",
    "/etc/init.d",
    "/etc/systemd",
    "/var/lib/apt",
    "/var/lib/dpkg/info",
    "/usr/lib/systemd/network",
    "/var/lib/nvpmodel",
    "/var/lib/systemd/timers",
    "/var/cache/apt",
)
# What an Ubuntu's sshd has otherwise than the lab's: sessions of PAM, which read /etc/environment, and an SFTP server
# that the user's shell starts.
SSHD = {"UsePAM no": "UsePAM yes", "internal-sftp": "/usr/lib/openssh/sftp-server"}
UNITS = str(Path("/lib/systemd/system").resolve())  # /lib is /usr/lib on most machines
STATE = "/var/lib/cluster-kit"


def is_dressed(upper: Path, dress: str) -> bool:
    """Tells whether a board's layer was made for this dress."""
    mark = upper / MARK.lstrip("/")
    return (mark.read_text().strip() if mark.exists() else "") == dress


def dress_layer(layer: Layer, dress: str, files: Path, lab_dir: Path) -> None:
    """Writes the files of a dress.

    Args:
        layer: the board's, written before
        files: the dress's folder, as composed of what all dresses share
        lab_dir: the lab's folder, where the boards' packages are built once
    """
    for folder, where in (("bin", "/usr/bin"), ("sbin", "/usr/sbin")):
        for path in sorted((files / folder).iterdir()):
            layer.file(f"{where}/{path.stem}", path.read_text(), mode=0o755)
    _link(layer, "/usr/sbin/reboot", "shutdown")
    layer.file("/usr/lib/cluster-kit/date", "", mode=0o755)  # for the program of this name in bin/
    shutil.copyfile("/usr/bin/date", layer.path("/usr/lib/cluster-kit/date"))
    layer.file("/usr/lib/cluster-kit/boot.sh", (files / "boot.sh").read_text())
    _copy(layer, files / "devices", "/usr/lib/cluster-kit/devices")
    sshd_config = layer.path("/etc/ssh/sshd_config").read_text()
    for ours, theirs in SSHD.items():
        sshd_config = sshd_config.replace(ours, theirs)
    layer.file("/etc/ssh/sshd_config", sshd_config)
    if is_dressed(layer.upper, dress):
        return

    for alone in (*OWN, UNITS):
        layer.folder(alone, mode=0o755, opaque=True)
    for empty in ("apt.conf.d", "preferences.d", "sources.list.d", "trusted.gpg.d"):
        layer.folder(f"/etc/apt/{empty}")
    for empty in ("/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial"):
        layer.folder(empty)
    _copy(layer, files / "units", UNITS)
    _copy(layer, files / "network", "/usr/lib/systemd/network")
    _copy(layer, files / "etc", "/etc")
    for home in layer.path("/home").iterdir():
        for path in (files / "home").iterdir():
            layer.file(f"/home/{home.name}/.{path.name}", path.read_text())
    layer.folder(STATE)
    _copy(layer, files / "device-tree", f"{STATE}/device-tree")
    _copy(layer, files / "devices/gpu.0", f"{STATE}/gpu.0")
    for repository, built in _repositories(files, lab_dir / f"packages-{dress}", DRESSES[dress].suite).items():
        shutil.copytree(built, layer.folder(f"/opt/{repository}"), dirs_exist_ok=True)
    installed = (files / "installed.control").read_text()
    layer.file("/var/lib/dpkg/status", installed)
    for stanza in _stanzas(installed):
        _install(layer, _field(stanza, "Package"), files / "payload")
    nft = Path("/usr/sbin").glob("nft") if DRESSES[dress].jetson else ()  # a Jetson's kernel does not know it
    for hidden in (*Path("/usr/local").glob("cuda*"), *nft):  # this machine's
        layer.hide(hidden)
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    layer.file("/etc/faketime.env", f"LD_PRELOAD={library}\n")  # read by /etc/pam.d: what comes over ssh, and with sudo
    layer.file(MARK, f"{dress}\n")


def _copy(layer: Layer, source: Path, target: str, skip: str = "") -> None:
    for path in sorted(source.rglob("*")):
        inside = path.relative_to(source)
        where = Path(f"{target}/{inside}")
        where = where.parent.resolve() / where.name  # /lib is a link on this machine, and so on the board
        if skip and inside.parts[0] == skip:
            continue
        if path.is_symlink():
            _link(layer, str(where), str(path.readlink()))
        elif path.is_file():
            layer.file(str(where), path.read_text(), mode=path.stat().st_mode & 0o755)
        elif not where.is_symlink():
            layer.folder(where)


def _link(layer: Layer, path: str, target: str) -> None:
    here = layer.folder(Path(path).parent) / Path(path).name
    here.unlink(missing_ok=True)
    here.symlink_to(target)


def _install(layer: Layer, name: str, payload: Path) -> None:
    """Lays the files and scripts of a package that a new board has, as if dpkg had installed it."""
    listed = ["/."]
    for path in sorted((payload / name).rglob("*")):
        inside = path.relative_to(payload / name)
        if inside.parts[0] == "DEBIAN":
            if path.is_file() and path.name != "control":
                layer.file(f"/var/lib/dpkg/info/{name}.{path.name}", path.read_text(), mode=0o755)
        else:
            listed.append(f"/{inside}")
    if (payload / name).exists():
        _copy(layer, payload / name, "", skip="DEBIAN")
    layer.file(f"/var/lib/dpkg/info/{name}.list", "\n".join([*listed, ""]))


def _stanzas(control: str) -> list[str]:
    return control.strip().split("\n\n")


def _field(stanza: str, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in stanza.splitlines() if line.startswith(f"{name}: "))


def _repositories(files: Path, folder: Path, suite: str) -> dict[str, Path]:
    """Builds the repositories in a folder, where that was not done before; returns their names and folders."""
    found = {}
    for path in (files / "packages").iterdir():
        built = folder / path.stem
        if not built.exists():
            folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _build_repository(_stanzas(path.read_text()), files / "payload", Path(scratch), suite)
                (Path(scratch) / "repository").rename(built)
        found[path.stem] = built
    return found


def _build_repository(stanzas: list[str], payload: Path, scratch: Path, nvidia_suite: str) -> None:
    """Builds packages, and lists them as apt expects it of `deb file:/DIR SUITE main`."""
    root = scratch / "repository"
    (root / "pool").mkdir(parents=True)
    listed = []
    for stanza in stanzas:
        name = _field(stanza, "Package")
        package = scratch / name
        if (payload / name).exists():
            shutil.copytree(payload / name, package, symlinks=True)
        doc = package / "usr/share/doc" / name  # dpkg forgets a package of which there is no file
        doc.mkdir(parents=True)
        (doc / "copyright").write_text("An emulated board's stand-in for the package of this name.\n")
        (package / "DEBIAN").mkdir(exist_ok=True)
        (package / "DEBIAN/control").write_text(stanza + "\n")
        file = root / "pool" / f"{name}.deb"
        run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(package), str(file)])
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        listed.append(f"{stanza}\nFilename: pool/{file.name}\nSize: {len(content)}\nSHA256: {digest}\n")
    packages = "\n".join(listed)
    digest, size = hashlib.sha256(packages.encode()).hexdigest(), len(packages.encode())
    for suite in (nvidia_suite, "focal"):
        folder = root / "dists" / suite
        # without hashes and a date apt forgets the list when it looks for news
        release = [f"Suite: {suite}", f"Codename: {suite}", "Architectures: amd64 arm64", "Components: main"]
        release += ["Date: Sun, 19 Mar 2023 15:19:21 UTC", "SHA256:"]
        for architecture in ("amd64", "arm64"):
            index = f"main/binary-{architecture}/Packages"
            (folder / index).parent.mkdir(parents=True)
            (folder / index).write_text(packages)
            release.append(f" {digest} {size} {index}")
        (folder / "Release").write_text("\n".join(release) + "\n")
