#!/usr/bin/env python3
"""Create this project's environments from the locks in this folder.

controller  .venv        Ansible and the analysis
dev         .venv        the same, with the tools of `make test`
boards      .board-venv  TensorFlow 2.12 for emulated boards, or the newest where no Python here runs that
boards-newest            the same with the newest TensorFlow on the newest Python; `boards` keeps it
torch        .torch-venv  PyTorch, for emulated boards that train with it
browser      Chromium, in which `make test` checks the report, if apt has it
fuzzer       atheris, with which `make fuzz` chooses inputs, if it has a wheel for the Python of .venv

It runs before anything is installed, on any Python from 3.8: standard library only. A complete environment has a stamp.
If it matches, nothing is done; otherwise the environment is created again, also after an interrupted set-up.
"""

import argparse
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
CACHE = ROOT / ".cache"
LOG = CACHE / "setup.log"
PACKAGES = CACHE / "apt_packages"  # packages that apt installed for the kit; see docs/leaving.md
STAMP = "cluster_kit.json"

CONTROLLER_PYTHONS = ("3.13", "3.12", "3.11")  # supported by ansible-core 2.19 to 2.21
TORCH_PYTHONS = ("3.11", "3.12", "3.13", "3.10")  # of the PyTorch that torch.in pins
BOARD_PYTHONS = ("3.8", "3.11", "3.10", "3.9")  # JetPack 5's; then others of TensorFlow 2.12
NEWEST_PYTHONS = ("3.13", "3.12", "3.11", "3.10")  # of the newest TensorFlow
# the lock that an environment has, and the one that it then need not get
KEPT = {("dev", "controller"), ("board-newest", "board")}
FETCH_LIMIT_S = 180.0  # seconds to download an interpreter of 30 MB
HEARTBEAT_S = 10.0  # seconds between lines of a long step
LOG_TAIL_LINES = 15
NETWORK = "Check the network (PIP_INDEX_URL and PIP_CERT are honoured), then repeat."
VENV = "Check that the disk has room and that this Python is whole, then repeat."
CERTIFICATES = (  # systems' bundles of trusted certificates, including a company's own
    ssl.get_default_verify_paths().cafile,
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora
    "/etc/ssl/ca-bundle.pem",  # openSUSE
)
COUNTERS = Path("/proc/net/dev")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# messages of uv, pip and apt about downloads
ANNOUNCED = re.compile(r"(?:Downloading \S+ \(|Need to get )([\d.]+) ?(kB|KiB|MB|MiB|GB|GiB)")
UNITS = {"kB": 1e3, "KiB": 2**10, "MB": 1e6, "MiB": 2**20, "GB": 1e9, "GiB": 2**30}

started = time.monotonic()


class SetupError(Exception):
    """An error with its remedy in the last line."""


class Interpreter(NamedTuple):
    path: str  # resolved, not pyenv's shim or a virtual environment's link
    version: str
    ensurepip: bool  # Debian's is in python3-venv


class Environment(NamedTuple):
    folder: Path
    lock: str
    choose: Callable[[], Tuple[Interpreter, str]]
    proof: str  # code that must run in it
    remedy: str  # if that code fails
    options: Sequence[str] = ()  # for uv pip sync
    project: bool = True  # whether to install the checkout's own packages and commands


def say(text: str) -> None:
    print(f"setup {time.monotonic() - started:6.1f} s  {text}", flush=True)


def run(step: str, command: Sequence[object], remedy: str, limit_s: float = float("inf")) -> None:
    """Run a command with its output in the log and regular lines here; raise if it fails."""
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    for pip_name, uv_name in (("PIP_INDEX_URL", "UV_DEFAULT_INDEX"), ("PIP_CERT", "SSL_CERT_FILE")):
        if pip_name in env:
            env.setdefault(uv_name, env[pip_name])
    env.setdefault("UV_SYSTEM_CERTS", "true")
    env["DEBIAN_FRONTEND"] = "noninteractive"
    env.setdefault("KERAS_HOME", str(CACHE / "keras"))  # else importing TensorFlow leaves ~/.keras

    begun, received = time.monotonic(), received_bytes()
    argv = [str(part) for part in command]
    with LOG.open("a+") as log:
        print("\n$", *argv, file=log, flush=True)
        before = log.tell()
        process = subprocess.Popen(
            argv,
            cwd=str(ROOT),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            close_fds=False,  # even if this process is killed, the next set-up waits for the child
        )
        try:
            while process.poll() is None and time.monotonic() - begun < limit_s:
                try:
                    process.wait(HEARTBEAT_S)
                except subprocess.TimeoutExpired:
                    log.seek(before)
                    amount = megabytes(log.read(), received_bytes() - received)
                    say(f"{step}: {time.monotonic() - begun:.0f} s so far{amount}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            log.seek(before)
            tail = "\n".join(f"  | {line}" for line in log.read().splitlines()[-LOG_TAIL_LINES:])
            raise SetupError(f"{step}: failed. The end of {LOG}:\n{tail}\n{remedy}")


def received_bytes() -> int:
    """Bytes received by this machine, except from emulated boards; 0 if the kernel does not report them."""
    try:
        counters = [line.partition(":") for line in COUNTERS.read_text().splitlines()[2:]]
    except OSError:
        return 0
    return sum(int(counts.split()[0]) for name, _, counts in counters if not name.strip().startswith("cklab"))


def megabytes(printed: str, received: int) -> str:
    """Progress of a command's downloads, according to the machine's counters."""
    announced = sum(float(number) * UNITS[unit] for number, unit in ANNOUNCED.findall(printed))
    return f", {min(received, announced) / 1e6:.0f} of {announced / 1e6:.0f} MB" if announced else ""


def apt_install(why: str, *packages: str) -> Optional[str]:
    """Install the first of these packages that apt has, as root or with sudo; returns it, or None."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    remedy = f"Install {packages[0]} as root (Debian, Ubuntu: apt-get install {packages[0]}), then repeat."
    if not all(map(shutil.which, [*sudo, "apt-get", "apt-cache"])):
        raise SetupError(f"{why}.\n{remedy}")
    apt = [*sudo, "apt-get", "-o", "DPkg::Lock::Timeout=120", "-y"]
    say(f"{why}: looking for {' or '.join(packages)} with apt")
    run("apt-get update", [*apt, "update"], remedy)
    for package in packages:
        known = subprocess.run(["apt-cache", "show", package], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if known.returncode == 0:
            install = [*apt, "install", "--no-install-recommends", package]
            run(f"apt-get install {package}", install, remedy)
            with PACKAGES.open("a") as file:
                print(package, file=file)
            return package
    return None


# ---- finding interpreters

PROBE = """
import bz2, ctypes, importlib.util, json, os, ssl, sys, zlib
path = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
version = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps([path, version, importlib.util.find_spec("ensurepip") is not None]))
"""


@functools.lru_cache(maxsize=None)
def probe(python: str) -> Optional[Interpreter]:
    """An interpreter's properties; None if it does not run, like pyenv's inactive shims."""
    try:
        answer = subprocess.run([python, "-I", "-c", PROBE], capture_output=True, text=True, timeout=30, check=True)
        return Interpreter(*json.loads(answer.stdout))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(*minors: str) -> Optional[Interpreter]:
    """The first of these versions that runs: on PATH, else pyenv's, else uv's."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    names = [*(f"python{minor}" for minor in minors), "python3"]
    places = [folder / name for name in names for folder in folders]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    fetched = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    for minor in minors:
        places += sorted(pyenv.glob(f"versions/{minor}.*/bin/python3"))
        places += sorted(fetched.glob(f"cpython-{minor}.*/bin/python3"))
    for place in places:
        found = probe(str(place)) if os.access(str(place), os.X_OK) else None
        if found and found.version.rpartition(".")[0] in minors:
            return found
    return None


def fetch_python(minor: str) -> Optional[Interpreter]:
    """An interpreter from uv; None if it cannot be downloaded.

    It stays in uv's folder, since emulated boards do not see this project's.
    """
    step = f"no Python {minor} found: downloading it with uv"
    say(step)
    uv = find_uv()
    try:
        run(step, [uv, "python", "install", "--no-bin", minor], "", FETCH_LIMIT_S)
    except SetupError:
        say(f"uv could not fetch Python {minor}")
    return find_python(minor)


def apt_python(what: str, minors: Sequence[str]) -> Interpreter:
    """An interpreter of one of these versions from Debian or Ubuntu."""
    here = "{}.{}".format(*sys.version_info)
    why = f"{what}; this one is {here}, and uv could not download another"
    package = apt_install(why, *(f"python{minor}" for minor in minors))
    found = find_python(package[len("python") :]) if package else None
    if not found:
        raise SetupError(
            f"{why}; apt has no suitable one either.\n"
            f"Install python{minors[0]} from elsewhere (Ubuntu: the deadsnakes archive; anywhere: pyenv), then repeat."
        )
    return found


def controller_python() -> Tuple[Interpreter, str]:
    """The interpreter for the controller, and the reason for it."""
    found = find_python(*CONTROLLER_PYTHONS) or fetch_python("3.12")
    found = found or apt_python("ansible-core needs Python 3.11 to 3.13", CONTROLLER_PYTHONS)
    return found, "ansible-core runs on it"


def board_python() -> Tuple[Interpreter, str]:
    """The interpreter for emulated boards, and the reason for it."""
    require_no_lab(".board-venv")
    preferred, *others = BOARD_PYTHONS
    found = find_python(preferred) or fetch_python(preferred)
    if found:
        return found, "the version on the boards"
    found = find_python(*others)
    if found:
        return found, f"no Python {preferred} on PATH, in pyenv or from uv"
    return newest_python()[0], "no Python 3.8 to 3.11, which TensorFlow 2.12 runs on"


def newest_python() -> Tuple[Interpreter, str]:
    """The newest interpreter for emulated boards, and the reason for it."""
    require_no_lab(".board-venv")
    found = find_python(*NEWEST_PYTHONS)
    found = found or apt_python("TensorFlow needs Python 3.8 to 3.13", [*NEWEST_PYTHONS, "3.9", "3.8"])
    return found, "the newest that TensorFlow runs on"


def require_no_lab(environment: str) -> None:
    if (ROOT / ".lab").exists():
        raise SetupError(f"Emulated boards are using {environment}.\nRepeat after make lab-down.")


# ---- making environments


def find_uv() -> Path:
    """The uv pinned by the controller's lock; pip installs it the first time, by its hash."""
    lock = (LOCKS / "controller.txt").read_text()
    pin, version = re.findall(r"^(uv==(\S+)(?:.*\\\n)+.*\n)", lock, re.MULTILINE)[0]
    uv = CACHE / f"uv-{version}"
    if uv.exists():
        return uv
    candidates = [probe(sys.executable), find_python(*CONTROLLER_PYTHONS)]
    base = next((python.path for python in candidates if python and python.ensurepip), "")
    if not base:
        apt_install("this Python cannot make a virtual environment with pip", "python3-venv")
        base = "/usr/bin/python3"
    with tempfile.TemporaryDirectory(prefix="bootstrap-", dir=str(CACHE)) as name:
        scratch = Path(name)
        run("python -m venv", [base, "-m", "venv", scratch], VENV)
        (scratch / "uv.txt").write_text(pin)
        pip = [scratch / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        wheel = ["--require-hashes", "--only-binary", ":all:", "-r", scratch / "uv.txt"]
        run(f"pip install uv {version}", [*pip, "install", *certificates(pip), *wheel], NETWORK)
        (scratch / "bin" / "uv").replace(uv)  # atomic
    say(f"uv {version}")
    return uv


def certificates(pip: Sequence[object]) -> Sequence[str]:
    """Options with which pip trusts the system's certificates, unless the user set others."""
    given = subprocess.run([str(part) for part in [*pip, "config", "list"]], capture_output=True, text=True).stdout
    # pip also reads these variables, and lists its own as :env:
    named = re.search(r"\bcert=", given) or os.environ.keys() & {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
    found = next((path for path in CERTIFICATES if path and Path(path).is_file()), None)
    return ["--cert", found] if found and not named else []


def lock_hash(lock: str, project: bool) -> str:
    wanted = [LOCKS / f"{lock}.txt", *([ROOT / "pyproject.toml"] if project else [])]
    return hashlib.sha256(b"".join(path.read_bytes() for path in wanted)).hexdigest()


def read_stamp(folder: Path) -> Dict[str, str]:
    """The stamp of a complete environment; empty if there is none, it was moved, or it does not run."""
    try:
        stamp: Dict[str, str] = json.loads((folder / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    runs = os.access(str(folder / "bin" / "python"), os.X_OK)
    return stamp if runs and stamp.get("folder") == str(folder) else {}


def write_stamp(folder: Path, interpreter: Interpreter, why: str, lock: str, sha256: str) -> Dict[str, str]:
    """Mark an environment as complete; returns its stamp."""
    stamp = {"python": interpreter.version, "why": why, "interpreter": interpreter.path}
    stamp.update(folder=str(folder), lock=lock, sha256=sha256)
    draft = folder / f"{STAMP}.draft"
    draft.write_text(json.dumps(stamp, indent=2) + "\n")
    draft.replace(folder / STAMP)
    return stamp


def install(env: Environment) -> str:
    """Create an environment unless its stamp matches; returns a line that describes it."""
    stamp = read_stamp(env.folder)
    lock = stamp["lock"] if (stamp.get("lock"), env.lock) in KEPT else env.lock
    label = env.folder.name
    if stamp.get("sha256") != lock_hash(lock, env.project):
        (env.folder / STAMP).unlink(missing_ok=True)
        interpreter, why = env.choose()
        if lock == "board" and interpreter.version.rpartition(".")[0] not in BOARD_PYTHONS:
            lock = "board-newest"
        say(f"{label}: Python {interpreter.version} ({why}), {interpreter.path}")
        uv, python = find_uv(), env.folder / "bin" / "python"
        make = [uv, "venv", "--clear", "--python", interpreter.path, env.folder]
        run(f"{label}: uv venv", make, VENV)
        sync = [uv, "pip", "sync", "--require-hashes", "--no-build", "--python", python]
        step = f"{label}: installing what {lock}.txt locks"
        say(step)
        run(step, [*sync, *env.options, LOCKS / f"{lock}.txt"], NETWORK)
        if env.project:
            # uv builds it from local files
            own = [uv, "pip", "install", "--offline", "--no-deps", "--python", python, "--editable", ROOT]
            run(f"{label}: the checkout's own packages", own, VENV)
        run(f"{label}: {env.proof}", [python, "-c", env.proof], env.remedy)
        stamp = write_stamp(env.folder, interpreter, why, lock, lock_hash(lock, env.project))
    return f"{label} is ready: {lock}.txt, Python {stamp['python']} ({stamp['why']})"


ENVIRONMENTS = {
    "controller": Environment(ROOT / ".venv", "controller", controller_python, "import ansible, pandas", NETWORK),
    "dev": Environment(ROOT / ".venv", "dev", controller_python, "import ansible, pandas, pytest", NETWORK),
    "boards": Environment(
        ROOT / ".board-venv",
        "board",
        board_python,
        "import tensorflow",
        "TensorFlow needs an aarch64 CPU, or an x86_64 one with AVX.",
        # Compiled once here: each emulated board sees these files through an overlay.
        ["--compile-bytecode"],
        project=False,
    ),
}
ENVIRONMENTS["boards-newest"] = ENVIRONMENTS["boards"]._replace(lock="board-newest", choose=newest_python)


def torch() -> str:
    """Create the environment with PyTorch. With pip: builds for CPUs are on other indexes, which its settings name."""
    folder, pins = ROOT / ".torch-venv", LOCKS / "torch.in"
    stamp, sha256 = read_stamp(folder), hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.get("sha256") != sha256:
        if folder.exists():
            require_no_lab(folder.name)
        (folder / STAMP).unlink(missing_ok=True)
        interpreter = find_python(*TORCH_PYTHONS) or apt_python("PyTorch needs Python 3.10 to 3.13", TORCH_PYTHONS)
        if not interpreter.ensurepip:
            apt_install("this Python cannot make a virtual environment with pip", "python3-venv")
        say(f"{folder.name}: Python {interpreter.version}, {interpreter.path}")
        run(f"{folder.name}: python -m venv", [interpreter.path, "-m", "venv", "--clear", folder], VENV)
        pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        wheels = ["--only-binary", ":all:", "-r", pins]
        step = f"{folder.name}: installing what {pins.name} pins"
        say(step)
        run(step, [*pip, "install", *certificates(pip), *wheels], NETWORK)
        proof = "import h5py, torch.distributed; assert torch.distributed.is_available()"
        run(f"{folder.name}: {proof}", [folder / "bin" / "python", "-c", proof], VENV)
        stamp = write_stamp(folder, interpreter, "PyTorch has wheels for it", "torch", sha256)
    return f"{folder.name} is ready: {pins.name}, Python {stamp['python']}"


def browser() -> str:
    """Install Chromium, or say why tests will be skipped."""
    if not any(map(shutil.which, BROWSERS)):
        try:
            found = apt_install("the tests check the report in a browser", BROWSERS[0])
        except SetupError as error:
            return f"without Chromium, tests in a browser are skipped: {error}"
        if not found:
            return "without Chromium, which apt does not have, tests in a browser are skipped"
    return "Chromium is there"


def fuzzer() -> str:
    """Install atheris beside .venv, or say why `make fuzz` does without."""
    site, lock = CACHE / "fuzz" / "site", LOCKS / "fuzz.txt"
    stamp = site / lock_hash("fuzz", project=False)
    if not stamp.exists():
        shutil.rmtree(str(site), ignore_errors=True)
        wheels = ["--require-hashes", "--no-build", "--target", site, "-r", lock]
        try:
            run("atheris", [find_uv(), "pip", "install", "--python", ENVIRONMENTS["dev"].folder, *wheels], NETWORK)
        except SetupError as error:
            return f"without atheris, `make fuzz` changes its corpus at random: {error}"
        stamp.touch()
    return "atheris is there"


OTHERS = {"torch": torch, "browser": browser, "fuzzer": fuzzer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", nargs="+", choices=[*ENVIRONMENTS, *OTHERS], metavar="NAME")
    names = parser.parse_args().environments
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that run() ends its child
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as turn:  # one set-up at a time
        os.set_inheritable(turn.fileno(), True)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up to end")
            fcntl.flock(turn, fcntl.LOCK_EX)
        for name in names:
            say(OTHERS[name]() if name in OTHERS else install(ENVIRONMENTS[name]))


if __name__ == "__main__":
    try:
        main()
    except SetupError as error:
        sys.exit(f"\n{error}")
    except PermissionError as error:
        sys.exit(f"\n{error}\nIt belongs to root: repeat as root, or chown this folder to yourself.")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: repeat; incomplete environments are created again.")
