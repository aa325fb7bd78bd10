#!/usr/bin/python3
"""A stand-in for systemctl on an emulated board, where no systemd runs.

Knows unit files (services, with drop-ins), links in *.wants, `start` and what goes with it. What runs
is recorded below /run and so forgotten at a boot; what is enabled, in /etc. A service is started once
and not watched: one that ended shows as failed. Dependencies are ignored; `default` starts what is
enabled, in the order of the targets.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

FOLDERS = [Path(path) for path in ("/etc/systemd/system", "/run/systemd/system", "/lib/systemd/system")]
RUNNING = Path("/run/cluster-kit/units")
TARGETS = ("sysinit.target", "basic.target", "network-online.target", "multi-user.target", "graphical.target")
STOP_TIMEOUT_S = 5.0
PRIVILEGED = "start stop restart reload try-restart reload-or-restart enable disable mask unmask reset-failed"


class Refusal(Exception):
    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Unit:
    def __init__(self, name: str) -> None:
        self.name = name if "." in name else f"{name}.service"
        self.path = next((folder / self.name for folder in FOLDERS if os.path.lexists(folder / self.name)), None)
        if self.path and self.path.is_symlink() and not self.masked and self.path.resolve().name != self.name:
            self.name = self.path.resolve().name  # an alias
        self.settings: dict[str, list[str]] = {}
        if self.path and self.path.exists() and not self.masked:
            files = [self.path]
            for folder in reversed(FOLDERS):
                files += sorted((folder / f"{self.name}.d").glob("*.conf"))
            for file in files:
                self._read(file)
        else:
            self.path = self.path if self.masked else None

    def _read(self, file: Path) -> None:
        section = ""
        for line in file.read_text().replace("\\\n", " ").splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[]")
            elif "=" in line and not line.startswith(("#", ";")):
                key, value = (part.strip() for part in line.split("=", 1))
                values = self.settings.setdefault(f"{section}.{key}", [])
                if value:
                    values.append(value)
                else:
                    values.clear()  # systemd's way to take back what was set

    def all(self, key: str) -> list[str]:
        return self.settings.get(key, [])

    def last(self, key: str, default: str = "") -> str:
        return (self.all(key) or [default])[-1]

    @property
    def masked(self) -> bool:
        return self.path is not None and os.path.realpath(self.path) == "/dev/null"

    @property
    def oneshot(self) -> bool:
        return self.last("Service.Type") == "oneshot"

    def links(self) -> list[Path]:
        """Returns what enabling makes."""
        made = [
            FOLDERS[0] / f"{target}.{kind}" / self.name
            for key, kind in (("Install.WantedBy", "wants"), ("Install.RequiredBy", "requires"))
            for targets in self.all(key)
            for target in targets.split()
        ]
        return made + [FOLDERS[0] / alias for aliases in self.all("Install.Alias") for alias in aliases.split()]

    def file_state(self) -> str:
        if self.path is None:
            return ""
        if self.masked:
            return "masked"
        if not self.links():
            return "static"
        return "enabled" if any(os.path.lexists(link) for link in self.links()) else "disabled"

    def record(self) -> dict[str, object]:
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads((RUNNING / self.name).read_text()))
        return {"state": "inactive", "pid": 0}

    def keep(self, state: str, pid: int = 0) -> None:
        RUNNING.mkdir(parents=True, exist_ok=True)
        (RUNNING / self.name).write_text(json.dumps({"state": state, "pid": pid}))

    def pid(self) -> int:
        if self.last("Service.PIDFile"):
            with contextlib.suppress(OSError, ValueError):
                return int(Path(self.last("Service.PIDFile")).read_text())
        return int(str(self.record()["pid"]))

    def active(self) -> str:
        state = str(self.record()["state"])
        if state == "active" and not self.oneshot and not _lives(self.pid()):
            return "failed"
        return state

    def run(self, key: str) -> bool:
        """Runs every command of a setting and tells whether all succeeded."""
        for command in self.all(f"Service.{key}"):
            done = subprocess.run(self._words(command), **self._options(), check=False)  # type: ignore[call-overload]
            if done.returncode and not command.startswith("-"):
                return False
        return True

    def start(self) -> None:
        if self.active() in ("active", "activating"):
            return
        if not self.run("ExecStartPre"):
            self._fail()
        if self.oneshot or self.last("Service.Type") == "forking":
            if not self.run("ExecStart"):
                self._fail()
            remains = not self.oneshot or self.last("Service.RemainAfterExit").lower() in ("yes", "true", "1")
            self.keep("active" if remains else "inactive")
        else:
            command = self._words(self.last("Service.ExecStart"))
            process = subprocess.Popen(command, **self._options(), start_new_session=True)  # type: ignore[call-overload]
            time.sleep(0.05)
            if process.poll():
                self._fail()
            self.keep("active", process.pid)
        if not self.run("ExecStartPost"):
            self._fail()

    def stop(self) -> None:
        if self.active() == "active":
            self.run("ExecStop")
            pid = self.pid()
            whole = self.last("Service.KillMode") != "process"
            for number in (signal.SIGTERM, signal.SIGKILL):
                _kill(pid, number, whole)
                deadline = time.monotonic() + STOP_TIMEOUT_S
                while _lives(pid) and time.monotonic() < deadline:
                    time.sleep(0.02)
            self.run("ExecStopPost")
        self.keep("inactive")

    def reload(self) -> None:
        if self.active() != "active":
            raise Refusal(f"{self.name} is not active, cannot reload.")
        if not self.all("Service.ExecReload"):
            raise Refusal(f"Failed to reload {self.name}: Job type reload is not applicable for unit {self.name}.")
        if not self.run("ExecReload"):
            raise Refusal(f'Job for {self.name} failed.\nSee "systemctl status {self.name}" for details.')

    def _fail(self) -> None:
        self.keep("failed")
        raise Refusal(
            f"Job for {self.name} failed because the control process exited with error code.\n"
            f'See "systemctl status {self.name}" and "journalctl -xeu {self.name}" for details.'
        )

    def _words(self, command: str) -> list[str]:
        command = command.lstrip("-@:+!").replace("$MAINPID", str(self.pid())).replace("%n", self.name)
        return [os.path.expandvars(word) if word.startswith("$") else word for word in shlex.split(command)]

    def _options(self) -> dict[str, object]:
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        for name in self.all("Service.EnvironmentFile"):
            with contextlib.suppress(OSError):
                for line in Path(name.lstrip("-")).read_text().splitlines():
                    if "=" in line and not line.lstrip().startswith("#"):
                        key, value = line.split("=", 1)
                        environment[key.strip()] = value.strip().strip("\"'")
        for line in self.all("Service.Environment"):
            environment.update(word.split("=", 1) for word in shlex.split(line) if "=" in word)
        os.environ.update(environment)  # for $NAME in commands
        options: dict[str, object] = {"env": environment, "stdin": subprocess.DEVNULL}
        log = os.open(f"/var/log/{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # in place of a journal
        options.update(stdout=log, stderr=log, cwd=self.last("Service.WorkingDirectory", "/"))
        if self.last("Service.User"):
            user = pwd.getpwnam(self.last("Service.User"))
            options.update(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
        return options


def _lives(pid: int) -> bool:
    try:
        return pid > 1 and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def _kill(pid: int, number: int, whole: bool) -> None:
    if pid > 1:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole and os.getpgid(pid) == pid else os.kill)(pid, number)


def _link(link: Path, target: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def change(verb: str, units: Iterable[Unit], now: bool) -> None:
    for unit in units:
        if unit.path is None:
            if verb in ("enable", "disable"):
                raise Refusal(f"Failed to {verb} unit: Unit file {unit.name} does not exist.")
            if verb not in ("mask", "unmask"):
                raise Refusal(f"Failed to {verb} {unit.name}: Unit {unit.name} not found.", 5)
        if unit.masked and verb not in ("mask", "unmask", "stop", "disable"):
            raise Refusal(f"Failed to {verb} {unit.name}: Unit {unit.name} is masked.")
        if verb in ("stop", "restart") or (verb == "try-restart" and unit.active() == "active"):
            unit.stop()
        if verb in ("start", "restart") or (verb == "try-restart" and unit.active() == "active"):
            unit.start()
        if verb == "reload" or (verb == "reload-or-restart" and unit.active() == "active"):
            unit.reload()
        if verb == "enable":
            for link in unit.links():
                _link(link, str(unit.path))
                print(f"Created symlink {link} → {unit.path}.", file=sys.stderr)
            if now:
                unit.start()
        if verb == "disable":
            for link in filter(os.path.lexists, unit.links()):
                link.unlink()
                print(f"Removed {link}.", file=sys.stderr)
            if now:
                unit.stop()
        if verb == "mask":
            _link(FOLDERS[0] / unit.name, "/dev/null")
        if verb == "unmask" and unit.masked:
            (FOLDERS[0] / unit.name).unlink()
        if verb == "reset-failed" and unit.active() == "failed":
            unit.keep("inactive")


def show(unit: Unit, wanted: list[str], bare: bool) -> None:
    active = unit.active()
    exists = unit.path is not None
    sub = {"active": "exited" if unit.oneshot else "running", "inactive": "dead", "failed": "failed"}.get(
        active, active
    )
    shown = {
        "Type": unit.last("Service.Type", "simple"),
        "MainPID": unit.pid() if active == "active" and not unit.oneshot else 0,
        "Id": unit.name,
        "Names": unit.name,
        "Description": unit.last("Unit.Description", unit.name),
        "LoadState": "masked" if unit.masked else "loaded" if exists else "not-found",
        "ActiveState": active,
        "SubState": sub,
        "FragmentPath": unit.path or "",
        "UnitFileState": unit.file_state(),
        "NeedDaemonReload": "no",
        "Result": "exit-code" if active == "failed" else "success",
    }
    for key in wanted or shown:
        if key in shown:
            print(shown[key] if bare else f"{key}={shown[key]}")


def default() -> None:
    for target in TARGETS:
        wanted = sorted({path.name for folder in FOLDERS for path in (folder / f"{target}.wants").glob("*.service")})
        for name in wanted:
            unit = Unit(name)
            if unit.path and not unit.masked:
                try:
                    unit.start()
                except (Refusal, OSError) as error:
                    print(error, file=sys.stderr)


def list_unit_files(patterns: list[str]) -> int:
    paths = [path for folder in FOLDERS for path in folder.glob("*.service") if folder.exists()]
    names = sorted({path.name for path in paths if not patterns or any(path.match(pattern) for pattern in patterns)})
    for name in names:
        print(f"{name:40} {Unit(name).file_state()}")
    print(f"\n{len(names)} unit files listed.")
    return 0 if names else 1


def ask(verb: str, units: list[Unit], quiet: bool) -> int:
    """Answers is-active and its like, and returns the exit status."""
    status = 0
    for unit in units:
        if verb == "is-enabled":
            answer = unit.file_state()
            if not answer:
                raise Refusal(f"Failed to get unit file state for {unit.name}: No such file or directory")
            status |= answer in ("disabled", "masked")
        elif verb == "is-failed":
            answer = unit.active()
            status |= answer != "failed"
        else:
            answer = unit.active()
            status = status if answer == "active" else 4 if unit.path is None and verb == "status" else 3
        if not quiet:
            print(f"{unit.name} - Active: {answer}" if verb == "status" else answer)
    return status


def main(arguments: list[str]) -> int:
    words: list[str] = []
    wanted: list[str] = []
    options: set[str] = set()
    queue = iter(arguments)
    for word in queue:
        if word in ("-p", "--property"):
            wanted += next(queue, "").split(",")
        elif word.startswith(("--property=", "-p")):
            wanted += word.removeprefix("--property=").removeprefix("-p").split(",")
        elif word in ("-n", "-t", "--type"):
            next(queue, "")
        elif word.startswith("-"):
            options.add(word)
        else:
            words.append(word)
    verb, units = (words or ["list-units"])[0], [Unit(name) for name in words[1:]]
    if (verb in PRIVILEGED.split() or verb in ("default", "daemon-reload")) and os.geteuid():
        raise Refusal(f"Failed to {verb}: Interactive authentication required.", 4)
    if verb in PRIVILEGED.split():
        change(verb, units, "--now" in options)
    elif verb in ("is-active", "is-enabled", "is-failed", "status"):
        return ask(verb, units, bool(options & {"-q", "--quiet"}))
    elif verb in ("show", "cat"):
        for unit in units:
            if verb == "show":
                show(unit, wanted, "--value" in options)
            elif unit.path:
                print(f"# {unit.path}\n{unit.path.read_text()}", end="")
            else:
                raise Refusal(f"No files found for {unit.name}.")
    elif verb == "list-unit-files":
        return list_unit_files(words[1:])
    elif verb in ("reboot", "poweroff", "halt"):
        os.execv(f"/usr/sbin/{verb}", [verb])
    elif verb == "default":
        default()
    elif verb == "is-system-running":
        print("running")
    elif verb == "--version" or "--version" in options:
        print("systemd 245 (245.4-4ubuntu3.20)")
    elif verb not in ("daemon-reload", "daemon-reexec", "list-units"):
        raise Refusal(f"Unknown command verb {verb}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(refusal.status)
