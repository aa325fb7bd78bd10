"""The set-up: what it installs, from which interpreter, and when it has nothing to do."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from requirements import install

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted(path.stem for path in (ROOT / "requirements").glob("*.txt"))


def locked(lock: str) -> dict[str, str]:
    """Package to version, for each one that a lock lists."""
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
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
    monkeypatch.setattr(install, "CACHE", tmp_path / ".cache")
    monkeypatch.setattr(install, "LOG", tmp_path / ".cache" / "setup.log")
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
    stamp = {**stamp, "sha256": install.lock_hash(lock), **changes}
    (folder / install.STAMP).write_text(json.dumps(stamp))
    return install.Environment(folder, lock, lambda: pytest.fail("made anew"), "", "")


# ---- locks


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_file_an_address(lock):
    for suffix in (".in", ".txt"):
        text = (ROOT / "requirements" / (lock + suffix)).read_text()
        assert not re.search(r"://|index-url|find-links", text)
    entries = [line for line in text.replace("\\\n", "").splitlines() if line[0] != "#"]
    assert entries
    assert all(re.match(r"[\w.-]+==\S+ .*--hash=sha256:", entry) for entry in entries)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_have_what_their_in_files_want(lock):
    wanted = (ROOT / "requirements" / f"{lock}.in").read_text()
    names = {name.lower() for name in re.findall(r"^[A-Za-z][\w.-]*", wanted, re.MULTILINE)}
    assert names <= set(locked(lock)), "run `make lock`"


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


def test_boards_without_any_python_are_told_what_to_install(project, monkeypatch):
    monkeypatch.setattr(install, "fetch_python", lambda minor: None)
    with pytest.raises(install.SetupError, match=r"3\.8.*\n.*pyenv install 3\.8"):
        install.board_python()


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


# ---- the promise to the boards


def test_what_runs_on_boards_and_the_set_up_are_python_3_8(tmp_path):
    python = install.find_python("3.8")
    if not python:
        pytest.skip("no Python 3.8 on this machine")
    compiler = [python.path, "-X", f"pycache_prefix={tmp_path}", "-m", "compileall", "-q"]
    sources = ["trainer", "requirements/install.py", "roles/check/files", "benchmarks/bare", "benchmarks/standin"]
    sources += ["tests/contract/two_boards.py"]
    subprocess.run([*compiler, *sources], cwd=ROOT, check=True)
