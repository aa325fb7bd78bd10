"""The set-up: what it installs, from which interpreter, and when it has nothing to do."""

import contextlib
import http.server
import io
import json
import random
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from requirements import install
from tests import PROJECT

LOCKS = sorted(path.stem for path in (PROJECT / "requirements").glob("*.txt"))


def locked(lock: str) -> dict[str, str]:
    """Package to version, for each one that a lock lists."""
    text = (PROJECT / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def fake_python(path: Path, version: str, runs: bool = True, ensurepip: bool = True) -> Path:
    """A script that answers the probe as an interpreter of this version would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    answer = json.dumps([str(path), version, ensurepip])
    path.write_text(f"#!/bin/sh\necho '{answer}'\n" if runs else "#!/bin/sh\nexit 127\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Set-up of a project in an empty folder, on a machine without any interpreter."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(install, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(install, "LOG", tmp_path / ".cache" / "setup.log")
    monkeypatch.setattr(install, "PACKAGES", tmp_path / ".cache" / "apt_packages")
    (tmp_path / ".cache").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "uv"))
    install.probe.cache_clear()
    yield tmp_path
    install.probe.cache_clear()


def finished(folder: Path, lock: str, /, **changes: str) -> install.Environment:
    """An environment as a set-up leaves it, with changes to its stamp."""
    fake_python(folder / "bin" / "python", "3.11.2")
    stamp = {"python": "3.11.2", "why": "it is there", "folder": str(folder), "lock": lock}
    stamp = {**stamp, "sha256": install.lock_hash(lock, True), **changes}
    (folder / install.STAMP).write_text(json.dumps(stamp))
    return install.Environment(folder, lock, lambda: pytest.fail("made anew"), "", "")


# ---- locks


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_file_an_address(lock):
    for suffix in (".in", ".txt"):
        text = (PROJECT / "requirements" / (lock + suffix)).read_text()
        assert not re.search(r"://|index-url|find-links", text)
    entries = [line for line in text.replace("\\\n", "").splitlines() if line[0] != "#"]
    assert entries
    assert all(re.match(r"[\w.-]+==\S+ .*--hash=sha256:", entry) for entry in entries)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_what_their_in_files_want(lock):
    wanted = (PROJECT / "requirements" / f"{lock}.in").read_text()
    names = {name.lower() for name in re.findall(r"^[A-Za-z][\w.-]*", wanted, re.MULTILINE)}
    left_out = set(re.findall(r"--no-emit-package (\S+)", (PROJECT / "Makefile").read_text()))
    assert names <= {*locked(lock), *left_out}, "run `make lock`"


def test_dev_lock_extends_the_controller_lock():
    assert locked("controller").items() <= locked("dev").items(), "run `make lock`"


# ---- interpreters


def test_interpreters_that_do_not_run_are_passed_over(project):
    fake_python(project / "bin" / "python3.8", "3.8.18", runs=False)  # as pyenv's idle shims
    fake_python(project / "bin" / "python3", "3.11.2")
    in_pyenv = fake_python(project / "pyenv" / "versions" / "3.8.18" / "bin" / "python3", "3.8.18")
    assert install.find_python("3.8").path == str(in_pyenv)


def test_interpreters_on_path_come_before_newer_ones_in_pyenv(project):
    on_path = fake_python(project / "bin" / "python3", "3.11.2")
    fake_python(project / "pyenv" / "versions" / "3.13.0" / "bin" / "python3", "3.13.0")
    assert install.find_python("3.13", "3.12", "3.11").path == str(on_path)


def test_the_probe_names_the_interpreter_behind_a_virtual_environment(project):
    found = install.probe(sys.executable)
    assert found.version == "{}.{}.{}".format(*sys.version_info[:3])
    assert Path(sys.prefix) not in Path(found.path).parents


def test_boards_take_another_python_and_say_why(project, monkeypatch):
    monkeypatch.setattr(install, "fetch_python", lambda minor: None)
    fake_python(project / "bin" / "python3", "3.10.12")
    interpreter, why = install.board_python()
    assert interpreter.version == "3.10.12"
    assert "no Python 3.8" in why


def fake_apt(project: Path, *packages: str) -> None:
    """An apt that has these packages; an interpreter among them runs once it is installed."""
    (project / "bin").mkdir(exist_ok=True)
    known = " ".join(f"{package}) exit 0;;" for package in packages)
    (project / "bin" / "apt-cache").write_text(f'#!/bin/sh\ncase "$2" in {known} esac\nexit 100\n')
    for package in packages:
        fake_python(project / "to-install" / package, package[len("python") :] + ".9")
    (project / "bin" / "apt-get").write_text(
        f"#!/bin/sh\nfor word; do last=$word; done\n"
        f'if [ "$last" != update ]; then /bin/cp {project}/to-install/$last {project}/bin/; fi\n'
    )
    for name in ("apt-cache", "apt-get"):
        (project / "bin" / name).chmod(0o755)


@pytest.fixture
def offline(project, monkeypatch):
    """The same machine, which reaches no interpreter but those of apt."""
    monkeypatch.setattr(install, "fetch_python", lambda minor: None)
    return project


def test_a_machine_with_an_older_python_gets_the_controllers_from_apt(offline):
    fake_python(offline / "bin" / "python3", "3.10.12")
    fake_apt(offline, "python3.11")
    assert install.controller_python()[0].version == "3.11.9"


@pytest.mark.parametrize("only", ["3.12.3", "3.13.5"])
def test_a_machine_with_a_newer_python_alone_gets_the_newest_tensorflow(offline, only, monkeypatch):
    fake_python(offline / "bin" / "python3", only)
    ran = []
    monkeypatch.setattr(install, "run", lambda step, command, *rest: ran.append([str(part) for part in command]))
    monkeypatch.setattr(install, "find_uv", lambda: "uv")
    (offline / "board-venv").mkdir()
    env = install.ENVIRONMENTS["boards"]._replace(folder=offline / "board-venv")
    told = install.install(env)
    assert f"board-newest.txt, Python {only}" in told and "TensorFlow 2.12" in told
    assert any(command[-1].endswith("/board-newest.txt") for command in ran)
    fake_python(offline / "board-venv/bin/python", only)
    assert install.install(env) == told  # and does not ask for another one the next time
    assert len(ran) == 3


@pytest.mark.parametrize("apt", [True, False], ids=["apt has none", "no apt"])
@pytest.mark.parametrize(
    ("only", "choose", "package"),
    [("3.10.12", "controller_python", "python3.13"), ("3.7.9", "board_python", "python3.13")],
)
def test_a_machine_without_a_fitting_python_is_told_which_package_to_install(offline, only, choose, package, apt):
    fake_python(offline / "bin" / "python3", only)
    if apt:
        fake_apt(offline)
    with pytest.raises(install.SetupError, match=rf"needs Python 3\..*\nInstall {package}"):
        getattr(install, choose)()


def test_the_environment_of_running_boards_is_not_replaced(project):
    (project / ".lab").mkdir()
    with pytest.raises(install.SetupError, match="lab-down"):
        install.board_python()


def test_a_python_without_ensurepip_leads_to_the_debian_package(project, monkeypatch):
    without = fake_python(project / "bin" / "python3", "3.11.2", ensurepip=False)
    monkeypatch.setattr(sys, "executable", str(without))
    with pytest.raises(install.SetupError, match="apt-get install python3-venv"):
        install.find_uv()  # PATH has no apt-get


# ---- environments


def test_a_finished_environment_is_left_alone(project):
    assert "3.11.2" in install.install(finished(project / ".venv", "controller"))


def test_the_front_door_keeps_the_tools_of_make_test(project):
    env = finished(project / ".venv", "dev")._replace(lock="controller")
    assert "dev.txt" in install.install(env)


@pytest.mark.parametrize("changes", [{"sha256": "of another lock"}, {"folder": "/before/it/was/moved"}], ids=str)
def test_an_environment_whose_stamp_does_not_fit_is_made_anew(project, changes):
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        install.install(finished(project / ".venv", "controller", **changes))


def test_an_environment_whose_interpreter_is_gone_is_made_anew(project):
    env = finished(project / ".venv", "controller")
    (project / ".venv" / "bin" / "python").unlink()
    with pytest.raises(pytest.fail.Exception, match="made anew"):
        install.install(env)


# ---- commands


def test_a_failed_step_shows_the_end_of_the_log_and_the_remedy(project):
    with pytest.raises(install.SetupError, match=r"(?s)step.*\| no such host.*do this"):
        install.run("step", ["/bin/sh", "-c", "echo no such host; exit 3"], "do this")


def test_a_step_over_its_limit_is_ended_and_shows_signs_of_life_before(project, monkeypatch, capsys):
    monkeypatch.setattr(install, "HEARTBEAT_S", 0.05)
    with pytest.raises(install.SetupError):
        install.run("step", ["/bin/sleep", "60"], "", limit_s=0.1)
    assert "so far" in capsys.readouterr().out


def wheel_of_2_mb() -> bytes:
    """A wheel that does not compress; what uv asks for first comes first in it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("slow-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
        archive.writestr("slow-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("slow-1.dist-info/RECORD", "slow.bin,,\n")
        archive.writestr("slow.bin", random.Random(1).randbytes(2_000_000))
    return packed.getvalue()


class SlowIndex(http.server.BaseHTTPRequestHandler):
    """A package index that sends its wheel at 1 MB/s."""

    content = wheel_of_2_mb()

    def do_GET(self) -> None:
        wheel = self.path.endswith(".whl")
        content = self.content if wheel else b'<a href="/slow-1-py3-none-any.whl">slow-1-py3-none-any.whl</a>'
        self.send_response(200)
        self.send_header("Content-Type", "application/zip" if wheel else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(content), 100_000):
                time.sleep(0.1 * wheel)
                self.wfile.write(content[start : start + 100_000])

    def log_message(self, *_: object) -> None:
        pass


def counted(interface: str) -> int:
    return int(Path(f"/sys/class/net/{interface}/statistics/rx_bytes").read_text())


def test_what_the_machine_receives_is_counted_without_the_emulated_boards(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "COUNTERS", tmp_path / "dev")
    assert install.received_bytes() == 0
    shown = "Inter-|   Receive\n face |bytes    packets\n    lo:     100 1 0\n  eth0: 2000000 9 0\ncklab0:7000000 9 0\n"
    (tmp_path / "dev").write_text(shown)
    assert install.received_bytes() == 2_000_100
    monkeypatch.undo()
    assert install.received_bytes() >= counted("lo")


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_a_slow_download_shows_how_much_of_it_has_come(project, monkeypatch, capsys, tool):
    monkeypatch.setattr(install, "HEARTBEAT_S", 0.3)
    monkeypatch.setattr(install, "received_bytes", lambda: counted("lo"))  # what else the machine receives is not its
    to = project / "to"
    commands = {
        "uv": [Path(sys.executable).with_name("uv"), "pip", "install", "--no-cache", "--python", sys.executable],
        "pip": [project / "venv/bin/python", "-m", "pip", "install", "--no-cache-dir"],
    }
    if tool == "pip":
        subprocess.run([sys.executable, "-m", "venv", project / "venv"], check=True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowIndex) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        index = f"http://127.0.0.1:{server.server_port}/simple"
        install.run("step", [*commands[tool], "--target", to, "--index-url", index, "--no-deps", "slow==1"], "")
        server.shutdown()
    assert (to / "slow.bin").stat().st_size == 2_000_000
    shown = re.findall(r"step: \d+ s so far, (\d+) of 2 MB", capsys.readouterr().out)
    assert len(shown) > 2 and shown == sorted(shown)
    assert "1" in shown


def test_a_long_step_says_so_at_least_every_15_s():
    assert install.HEARTBEAT_S <= 15


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("Downloading tensorflow-cpu (227.5MiB)\nDownloading numpy (16.0MiB)\n", ", 100 of 255 MB"),
        ("Downloading uv-0.13.8-py3-none-manylinux_2_17_x86_64.whl (17.2 MB)\n", ", 17 of 17 MB"),
        ("Need to get 96.1 MB of archives.\nAfter this operation, 370 MB\n", ", 96 of 96 MB"),
        ("Need to get 800 kB/96.1 MB of archives.", ", 1 of 1 MB"),
        ("Get:1 http://deb.example bookworm InRelease [151 kB]\n", ""),
    ],
)
def test_what_uv_pip_and_apt_announce_is_understood(printed, shown):
    assert install.megabytes(printed, 100_000_000) == shown


# ---- the system's certificates


def test_uv_trusts_what_the_system_trusts(project, monkeypatch):
    for name in ("PIP_CERT", "SSL_CERT_FILE", "UV_SYSTEM_CERTS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(install.SetupError, match=r"\| true, unset"):
        install.run("env", ["/bin/sh", "-c", "echo $UV_SYSTEM_CERTS, ${SSL_CERT_FILE-unset}; exit 1"], "")


def test_pip_trusts_what_the_system_trusts_unless_something_else_is_named(project, monkeypatch):
    bundle = project / "bundle.crt"
    bundle.touch()
    monkeypatch.setattr(install, "CERTIFICATES", (None, "/nowhere.crt", str(bundle)))
    for name in ("PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    pip = ["/bin/sh", "-c", 'echo "global.client_cert=x"']
    assert install.certificates(pip) == ["--cert", str(bundle)]
    assert install.certificates(["/bin/sh", "-c", "echo \"global.cert='/mine.crt'\""]) == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/mine.crt")
    assert install.certificates(pip) == []
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setattr(install, "CERTIFICATES", ("/nowhere.crt",))
    assert install.certificates(pip) == []


# ---- the tests' browser


def test_chromium_comes_from_apt_where_apt_has_it(project):
    assert "apt-get install chromium" in install.browser()  # without apt
    fake_apt(project)
    assert "apt does not have" in install.browser()
    fake_apt(project, "chromium")
    assert install.browser() == "Chromium is there"
    assert (project / "bin" / "chromium").exists()
    assert install.PACKAGES.read_text() == "chromium\n"  # for whoever leaves
    (project / "bin" / "apt-get").unlink()
    assert install.browser() == "Chromium is there"


# ---- the promise to the boards


def test_what_runs_on_boards_and_the_set_up_are_python_3_8(tmp_path):
    python = install.find_python("3.8")
    if not python:
        pytest.skip("no Python 3.8 on this machine")
    compiler = [python.path, "-X", f"pycache_prefix={tmp_path}", "-m", "compileall", "-q"]
    sources = [
        "trainer",
        "requirements/install.py",
        "roles/check/files",
        "benchmarks/lab/bare",
        "benchmarks/lab/standin",
        "benchmarks/lab/slow",
    ]
    sources += ["tests/contract/two_boards.py"]
    subprocess.run([*compiler, *sources], cwd=PROJECT, check=True)


# ---- the fuzzer


def test_the_fuzzer_is_installed_once_by_its_hashes_or_done_without(project, monkeypatch):
    commands = []
    monkeypatch.setattr(install, "find_uv", lambda: "uv")
    monkeypatch.setattr(install, "run", lambda step, command, remedy: commands.append(command) or site.mkdir())
    site = install.CACHE / "fuzz" / "site"
    site.parent.mkdir(parents=True)
    assert install.fuzzer() == install.fuzzer() == "atheris is there"
    assert len(commands) == 1 and {"--require-hashes", "--no-build", site} <= set(commands[0])

    def without_a_wheel(step, command, remedy):
        raise install.SetupError("no wheel")

    (site / install.lock_hash("fuzz", project=False)).unlink()
    monkeypatch.setattr(install, "run", without_a_wheel)
    assert "changes its corpus at random: no wheel" in install.fuzzer()


# ---- PyTorch


def test_pytorch_is_installed_by_pip_once_and_again_when_its_pins_change(project, monkeypatch):
    commands = []
    fake_python(project / "bin" / "python3.11", "3.11.2")
    monkeypatch.setattr(install, "LOCKS", project)
    monkeypatch.setattr(install, "certificates", lambda pip: [])
    pins, folder = project / "torch.in", project / ".torch-venv"
    pins.write_text("torch==1\n")

    def run(step, command, remedy):
        commands.append([str(part) for part in command])
        if "venv" in commands[-1]:
            fake_python(folder / "bin" / "python", "3.11.2")

    monkeypatch.setattr(install, "run", run)
    assert install.torch() == install.torch() == ".torch-venv is ready: torch.in, Python 3.11.2"
    assert [command[1:3] for command in commands] == [["-m", "venv"], ["-m", "pip"], ["-c", commands[2][2]]]
    assert commands[1][-2:] == ["-r", str(pins)] and "--only-binary" in commands[1]
    pins.write_text("torch==2\n")
    (project / ".lab").mkdir()
    with pytest.raises(install.SetupError, match=r"using .torch-venv.\nRepeat after make lab-down"):
        install.torch()
    (project / ".lab").rmdir()
    install.torch()
    assert len(commands) == 6
