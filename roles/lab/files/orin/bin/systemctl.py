#!/usr/bin/python3
"""A stand-in for systemctl on an emulated board, where no systemd runs.

Knows unit files of services, their drop-ins and timers, links in *.wants, `start` and what goes with it, as far as the
kit and Ansible's systemd_service ask for it. What runs is recorded below /run and so forgotten at a boot; what
is enabled, in /etc. A service is started once and not watched: one that ended shows as failed. A timer starts its
service once, when the board is new. Dependencies are ignored but for After at a boot; `default` starts what is enabled
and does not run, in the order of the targets, and so does `isolate`, whatever its target: what ran once and is over, as
nvpmodel.service, runs again.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDERS = [Path("/etc/systemd/system"), Path("/lib/systemd/system")]
RUNNING = Path("/run/cluster-kit/units")
STAMPS = Path("/var/lib/systemd/timers")
TARGETS = ("sysinit.target", "multi-user.target")
STOP_TIMEOUT_S = 5.0
PRIVILEGED = "start stop restart reload enable disable reset-failed daemon-reload default isolate"


class Refusal(Exception):
    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Unit:
    def __init__(self, name: str) -> None:
        self.name = name if "." in name else f"{name}.service"
        self.path = next((folder / self.name for folder in FOLDERS if (folder / self.name).exists()), None)
        self.settings = configparser.ConfigParser(delimiters="=", interpolation=None)
        if self.path:
            self.name = self.path.resolve().name  # of an alias, the service's
            self.settings.read(self.path)
            for folder in FOLDERS:
                self.settings.read(sorted((folder / f"{self.name}.d").glob("*.conf")))

    def setting(self, section: str, key: str) -> str:
        return self.settings.get(section, key, fallback="")

    @property
    def log(self) -> Path:
        """What its commands print, in place of a journal."""
        return Path(f"/var/log/{self.name}.log")

    @property
    def oneshot(self) -> bool:
        return self.setting("Service", "Type") == "oneshot"

    def links(self) -> list[Path]:
        """Returns what enabling makes."""
        wants = [f"{target}.wants/{self.name}" for target in self.setting("Install", "WantedBy").split()]
        return [FOLDERS[0] / link for link in (*wants, *self.setting("Install", "Alias").split())]

    def file_state(self) -> str:
        if self.path is None:
            return ""
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
        return int(str(self.record()["pid"]))

    def active(self) -> str:
        state = str(self.record()["state"])
        if state == "active" and not self.oneshot and not self.timer and not _lives(self.pid()):
            return "failed"
        return state

    def run(self, key: str) -> bool:
        """Runs the command of a setting, if it has one, and tells whether that succeeded or does not count."""
        command = self.setting("Service", key)
        return not command or self._popen(key).wait() == 0 or command.startswith("-")

    @property
    def timer(self) -> bool:
        return self.name.endswith(".timer")

    def start(self) -> None:
        if self.active() == "active":
            return
        if self.timer:
            self.keep("active")
            stamp = STAMPS / f"stamp-{self.name}"
            service = Unit(f"{Path(self.name).stem}.service")
            if service.path and not stamp.exists():
                stamp.parent.mkdir(parents=True, exist_ok=True)
                stamp.touch()
                service.start()
            return
        if self.oneshot:
            if not (self.run("ExecStart") and self.run("ExecStartPost")):
                self._fail()
            self.keep("active" if self.setting("Service", "RemainAfterExit") == "yes" else "inactive")
        else:
            process = self._popen("ExecStart")
            time.sleep(0.05)
            if process.poll():
                self._fail()
            self.keep("active", process.pid)

    def stop(self) -> None:
        if self.active() == "active":
            self.run("ExecStop")
            pid = self.pid()
            whole = self.setting("Service", "KillMode") != "process"
            for number in (signal.SIGTERM, signal.SIGKILL):
                _kill(pid, number, whole)
                deadline = time.monotonic() + STOP_TIMEOUT_S
                while _lives(pid) and time.monotonic() < deadline:
                    time.sleep(0.02)
        self.keep("inactive")

    def reload(self) -> None:
        if self.active() != "active":
            raise Refusal(f"{self.name} is not active, cannot reload.")
        if not self.setting("Service", "ExecReload"):
            raise Refusal(f"Failed to reload {self.name}: Job type reload is not applicable for unit {self.name}.")
        if not self.run("ExecReload"):
            raise Refusal(f"Job for {self.name} failed.\nSee {self.log} for details.")

    def _fail(self) -> None:
        self.keep("failed")
        raise Refusal(
            f"Job for {self.name} failed because the control process exited with error code.\n"
            f"See {self.log} for details."
        )

    def _popen(self, key: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                shlex.split(self.setting("Service", key).lstrip("-").replace("$MAINPID", str(self.pid()))),
                cwd="/",
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _lives(pid: int) -> bool:
    try:
        return pid > 1 and Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def _kill(pid: int, number: int, whole: bool) -> None:
    if pid > 1:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if whole and os.getpgid(pid) == pid else os.kill)(pid, number)


def change(verb: str, unit: Unit, now: bool) -> None:
    if unit.path is None:
        raise Refusal(f"Failed to {verb} {unit.name}: Unit {unit.name} not found.", 5)
    if verb == "enable":
        for link in unit.links():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(unit.path)
    if verb == "disable":
        for link in filter(os.path.lexists, unit.links()):
            link.unlink()
    if verb in ("stop", "restart") or (verb == "disable" and now):
        unit.stop()
    if verb in ("start", "restart") or (verb == "enable" and now):
        unit.start()
    if verb == "reload":
        unit.reload()
    if verb == "reset-failed" and unit.active() == "failed":
        unit.keep("inactive")


def show(unit: Unit, wanted: list[str], bare: bool) -> None:
    active = unit.active()
    shown = {
        "MainPID": unit.pid() if active == "active" else 0,
        "LoadState": "loaded" if unit.path else "not-found",
        "ActiveState": active,
    }
    for key, value in shown.items():
        if not wanted or key in wanted:
            print(value if bare else f"{key}={value}")


def default() -> None:
    for target in TARGETS:
        wanted = {path.name for folder in FOLDERS for path in (folder / f"{target}.wants").glob("*.*")}
        for name in sorted(
            wanted, key=lambda name: (bool(wanted & set(Unit(name).setting("Unit", "After").split())), name)
        ):
            try:
                unit = Unit(name)
                if unit.path:
                    unit.start()
            except (Refusal, OSError, configparser.Error) as error:
                print(error, file=sys.stderr)


def ask(verb: str, units: list[Unit]) -> int:
    """Answers is-active and is-enabled, and returns the exit status."""
    status = 0
    for unit in units:
        if verb == "is-active":
            answer = unit.active()
            status |= 0 if answer == "active" else 3
        else:
            answer = unit.file_state()
            if not answer:
                raise Refusal(f"Failed to get unit file state for {unit.name}: No such file or directory")
            status |= answer == "disabled"
        print(answer)
    return status


def main(arguments: list[str]) -> int:
    options = [word for word in arguments if word.startswith("-")]
    verb, *names = [word for word in arguments if not word.startswith("-")] or [""]
    units = [Unit(name) for name in names] if verb != "isolate" else []  # which names a target
    if verb in PRIVILEGED.split() and os.geteuid():
        raise Refusal(f"Failed to {verb}: Interactive authentication required.", 4)
    if verb in ("is-active", "is-enabled"):
        return ask(verb, units)
    if verb == "show":
        wanted = [word.removeprefix("--property=") for word in options if word.startswith("--property=")]
        for unit in units:
            show(unit, wanted, "--value" in options)
    elif verb in ("default", "isolate"):
        default()
    elif verb in PRIVILEGED.split():  # daemon-reload, too, which names no unit: each is read when it is asked for
        for unit in units:
            change(verb, unit, "--now" in options)
    else:
        raise Refusal(f"Unknown command verb {verb}.")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refusal as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(refusal.status)
