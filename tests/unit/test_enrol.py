"""Enrolment, as far as it needs no board: fingerprints, known_hosts, whose key is right, and the summary."""

from __future__ import annotations

import importlib.util
import multiprocessing
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import paramiko
import pytest

ROLE = Path(__file__).resolve().parents[2] / "roles/enrol"
PASSWORD = "Geheim 7"


def load(path: str) -> ModuleType:
    """A plugin, which Ansible loads by its path, too."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROLE / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


enrol = load("action_plugins/enrol_board.py")
enrol_table = load("filter_plugins/enrol_table.py").enrol_table


def make_key(folder: Path, kind: str = "ed25519") -> tuple[paramiko.PKey, str]:
    """A host key, and what ssh-keygen says of it."""
    path = folder / f"key_{kind}_{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    listed = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout
    kind_of_key, blob = path.with_suffix(".pub").read_text().split()[:2]
    key = paramiko.hostkeys.HostKeyEntry.from_line(f"host {kind_of_key} {blob}").key
    return key, listed


def board(known_hosts: Path, **different: Any) -> Any:
    return enrol.Board(
        **{
            "address": "192.168.1.11",
            "port": 22,
            "user": "nvidia",
            "password": PASSWORD,
            "known_hosts": str(known_hosts),
            "private_key_file": "/keys/id",
            "public_key_file": "/keys/id.pub",
            "fingerprint": "",
            "accept_new": True,
            "sudo_nopasswd": True,
            "timeout_s": 1.0,
            **different,
        }
    )


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_key_is_shown_as_ssh_keygen_shows_it(tmp_path: Path, kind: str) -> None:
    key, listed = make_key(tmp_path, kind)
    name, fingerprint = enrol.shown(key).split()
    assert fingerprint == listed.split()[1]
    assert f"({name})" == listed.split()[-1]


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("192.168.1.11", 22, "192.168.1.11"),
        ("192.168.1.11", 2222, "[192.168.1.11]:2222"),
        ("Orin-1.local", 22, "orin-1.local"),
        ("fd00::11", 2222, "[fd00::11]:2222"),
    ],
)
def test_a_pinned_key_is_found_by_ssh(tmp_path: Path, address: str, port: int, name: str) -> None:
    known_hosts = tmp_path / "known_hosts"
    key, listed = make_key(tmp_path)
    enrol.pin(known_hosts, board(known_hosts, address=address, port=port).name, key)
    assert known_hosts.read_text().startswith(f"{name} ssh-ed25519 ")
    assert enrol.shown(*board(known_hosts, address=address, port=port).pins().values()) in (
        f"ED25519 {listed.split()[1]}"
    )
    assert not board(known_hosts, address=address, port=port + 1).pins()
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", known_hosts], capture_output=True, text=True)
    assert f"Host {name} found" in found.stdout


def test_known_hosts_stays_sorted_with_a_line_per_host_and_what_else_it_held(tmp_path: Path) -> None:
    (one, _), (two, _) = make_key(tmp_path), make_key(tmp_path)
    text = enrol.with_pin("# mine\n\n9.9.9.9 ssh-ed25519 AAAA a comment", "2.2.2.2", two)
    text = enrol.with_pin(text, "1.1.1.1", one)
    assert [line.split()[0] for line in text.splitlines()] == ["#", "1.1.1.1", "2.2.2.2", "9.9.9.9"]
    assert text.endswith(" a comment\n")
    assert enrol.with_pin(text, "1.1.1.1", one) == text


def test_boards_that_are_pinned_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    key, _ = make_key(tmp_path)
    context = multiprocessing.get_context("fork")  # as Ansible's workers
    workers = [context.Process(target=enrol.pin, args=(known_hosts, f"10.0.0.{n}", key)) for n in range(10, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [line.split()[0] for line in known_hosts.read_text().splitlines()] == [f"10.0.0.{n}" for n in range(10, 40)]
    assert known_hosts.stat().st_mode & 0o777 == 0o644


class TestRightKey:
    def test_a_new_key_will_do_unless_told_otherwise(self, tmp_path: Path) -> None:
        key, listed = make_key(tmp_path)
        enrol.require_right_key(board(tmp_path / "none"), key, {})
        with pytest.raises(enrol.RefusalError, match="enrol_accept_new is false") as refusal:
            enrol.require_right_key(board(tmp_path / "none", accept_new=False), key, {})
        assert listed.split()[1] in str(refusal.value)
        enrol.require_right_key(board(tmp_path / "none", accept_new=False, fingerprint=listed.split()[1]), key, {})

    def test_a_changed_key_is_refused_with_both_fingerprints_and_the_remedy(self, tmp_path: Path) -> None:
        (old, was), (new, listed) = make_key(tmp_path), make_key(tmp_path)
        known_hosts = tmp_path / "known hosts"
        this = board(known_hosts, port=2222, fingerprint=listed.split()[1])
        enrol.pin(known_hosts, this.name, old)
        enrol.require_right_key(board(known_hosts, port=2222), old, this.pins())
        with pytest.raises(enrol.RefusalError) as refusal:
            enrol.require_right_key(this, new, this.pins())
        assert was.split()[1] in str(refusal.value)
        assert listed.split()[1] in str(refusal.value)
        assert f"ssh-keygen -f '{known_hosts}' -R '[192.168.1.11]:2222'" in str(refusal.value)

    def test_another_key_than_the_expected_one_is_refused_even_if_pinned(self, tmp_path: Path) -> None:
        key, _ = make_key(tmp_path)
        with pytest.raises(enrol.RefusalError, match="no password was sent"):
            enrol.require_right_key(board(tmp_path / "none", fingerprint="SHA256:x"), key, {"ssh-ed25519": key})


def test_a_key_is_added_once_and_what_was_there_stays(tmp_path: Path) -> None:
    keys = tmp_path / ".ssh/authorized_keys"
    keys.parent.mkdir()
    keys.write_text("#ssh-ed25519 AAAAnew off\nssh-rsa AAAAold mine")  # without a line's end
    for comment in ("cluster-kit", "again"):
        subprocess.run(
            ["sh", "-c", enrol._ADD_KEY, "sh", f"ssh-ed25519 AAAAnew {comment}"],
            env={"HOME": str(tmp_path), "PATH": "/bin:/usr/bin"},
            check=True,
        )
    assert keys.read_text() == "#ssh-ed25519 AAAAnew off\nssh-rsa AAAAold mine\nssh-ed25519 AAAAnew cluster-kit\n"
    assert keys.stat().st_mode & 0o777 == 0o600
    assert keys.parent.stat().st_mode & 0o777 == 0o700


def test_the_password_is_not_shown_with_the_board(tmp_path: Path) -> None:
    assert PASSWORD not in repr(board(tmp_path))


def test_cells_of_the_summary_are_below_each_other() -> None:
    lines = enrol_table([["board", "sudo", "outcome"], ["orin-1", "", "failed"], ["orin-12", "free", "enrolled"]])
    assert lines == ["board    sudo  outcome", "orin-1         failed", "orin-12  free  enrolled"]
