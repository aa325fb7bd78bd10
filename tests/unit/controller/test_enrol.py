"""Enrolment, as far as it needs no password: whose key is right, where ssh finds a board, and the summary."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import paramiko
import pytest

from analysis import AnalysisError
from controller import enrol, known_hosts
from tests.unit.controller.watch.test_remote import Server, needs_root
from tests.unit.controller.watch.test_remote import make_key as make_public_key

PASSWORD = "Geheim 7"


def make_key(folder: Path, kind: str = "ed25519") -> tuple[paramiko.PKey, str]:
    """A host key, and what ssh-keygen says of it."""
    path = folder / f"key_{kind}_{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    listed = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout
    kind_of_key, blob = path.with_suffix(".pub").read_text().split()[:2]
    key = paramiko.hostkeys.HostKeyEntry.from_line(f"host {kind_of_key} {blob}").key
    return key, listed


def board(path: Path, address: str = "192.168.1.11", *options: str, user: str = "nvidia", **different: Any) -> Any:
    """A board that Ansible reaches by these options of ssh."""
    return enrol.Board(
        **{
            "ssh": ("ssh", "-F", "none", "-o", f"User={user}", *options, address),
            "password": PASSWORD,
            "known_hosts": str(path),
            "private_key_file": "/keys/id",
            "public_key_file": "/keys/id.pub",
            "fingerprint": "",
            "accept_new": True,
            "sudo_nopasswd": True,
            "timeout_s": 5.0,
            **different,
        }
    )


def pin(path: Path, name: str, key: paramiko.PKey, marker: str = "") -> None:
    """A board's key in a known_hosts file."""
    known_hosts.add(path, name, key.get_name(), key.asbytes())
    path.write_text(path.read_text().replace(f"{name} {key.get_name()}", f"{marker} {name} {key.get_name()}".strip()))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_key_is_shown_as_ssh_keygen_shows_it(tmp_path: Path, kind: str) -> None:
    key, listed = make_key(tmp_path, kind)
    name, fingerprint = enrol.shown(key).split()
    assert fingerprint == listed.split()[1]
    assert f"({name})" == listed.split()[-1]


@pytest.mark.parametrize(
    ("address", "options", "name"),
    [
        ("192.168.1.11", [], "192.168.1.11"),
        ("192.168.1.11", ["-p", "2222"], "[192.168.1.11]:2222"),
        ("Orin-1.local", ["-o", "Port=22"], "orin-1.local"),
        ("fd00::11", ["-o", "Port=2222"], "[fd00::11]:2222"),
        ("orin-1", ["-o", "HostName=%h.lab.example"], "orin-1.lab.example"),
        ("192.168.1.11", ["-p", "2222", "-o", "HostKeyAlias=Orin-1"], "orin-1"),
    ],
)
def test_a_pinned_key_is_found_by_ssh(tmp_path: Path, address: str, options: list[str], name: str) -> None:
    path = tmp_path / "known_hosts"
    key, listed = make_key(tmp_path)
    this = board(path, address, *options)
    pin(path, this.to.name, key)
    assert path.read_text().startswith(f"{name} ssh-ed25519 ")
    assert [found.shown for found in this.known()] == [f"ED25519 {listed.split()[1]}"]
    assert not board(path, address, "-p", "23").known()
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", path], capture_output=True, text=True)
    assert f"Host {name} found" in found.stdout


class TestRightKey:
    def test_a_new_key_will_do_unless_told_otherwise(self, tmp_path: Path) -> None:
        key, listed = make_key(tmp_path)
        enrol.require_right_key(board(tmp_path / "none"), key, [])
        with pytest.raises(enrol.RefusalError, match="enrol_accept_new is false") as refusal:
            enrol.require_right_key(board(tmp_path / "none", accept_new=False), key, [])
        assert listed.split()[1] in str(refusal.value)
        enrol.require_right_key(board(tmp_path / "none", accept_new=False, fingerprint=listed.split()[1]), key, [])

    def test_a_changed_key_is_refused_with_both_fingerprints_and_the_remedy(self, tmp_path: Path) -> None:
        (old, was), (new, listed) = make_key(tmp_path), make_key(tmp_path)
        path = tmp_path / "known hosts"
        this = board(path, "192.168.1.11", "-p", "2222", fingerprint=listed.split()[1])
        pin(path, this.to.name, old)
        enrol.require_right_key(board(path, "192.168.1.11", "-p", "2222"), old, this.known())
        with pytest.raises(enrol.RefusalError) as refusal:
            enrol.require_right_key(this, new, this.known())
        assert was.split()[1] in str(refusal.value)
        assert listed.split()[1] in str(refusal.value)
        assert f"ssh-keygen -f '{path}' -R '[192.168.1.11]:2222'" in str(refusal.value)

    def test_another_key_than_the_expected_one_is_refused_even_if_pinned(self, tmp_path: Path) -> None:
        key, _ = make_key(tmp_path)
        this = board(tmp_path / "known_hosts", fingerprint="SHA256:x")
        pin(tmp_path / "known_hosts", this.to.name, key)
        with pytest.raises(enrol.RefusalError, match="no password was sent"):
            enrol.require_right_key(this, key, this.known())

    def test_a_revoked_key_is_refused_by_file_and_line_and_makes_no_other_key_known(self, tmp_path: Path) -> None:
        (stolen, _), (other, _) = make_key(tmp_path), make_key(tmp_path)
        this = board(tmp_path / "known_hosts", accept_new=False)
        pin(tmp_path / "known_hosts", this.to.name, stolen, "@revoked")
        with pytest.raises(enrol.RefusalError, match=rf"is @revoked in {tmp_path}/known_hosts, line 1"):
            enrol.require_right_key(this, stolen, this.known())
        with pytest.raises(enrol.RefusalError, match=r"new host key .* enrol_accept_new is false"):
            enrol.require_right_key(this, other, this.known())

    def test_an_authority_for_the_board_is_refused_by_file_and_line_and_for_others_it_is_not(
        self, tmp_path: Path
    ) -> None:
        key, _ = make_key(tmp_path)
        path = tmp_path / "known_hosts"
        pin(path, "*.lab", key, "@cert-authority")
        this = board(path, "orin-1.lab")
        with pytest.raises(enrol.RefusalError, match=rf"{path}, line 1: @cert-authority .*add ,!orin-1.lab to"):
            enrol.require_sense(this, this.known())
        path.write_text(path.read_text().replace("*.lab", "*.lab,!orin-1.lab"))
        enrol.require_sense(this, this.known())


def test_a_torn_line_is_refused_before_the_board_is_asked_anything(tmp_path: Path) -> None:
    key, _ = make_key(tmp_path)
    path = tmp_path / "known_hosts"
    pin(path, "192.168.1.12", key)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(AnalysisError, match=rf"{path}, line 1: its key is incomplete or damaged"):
        enrol.enrol(board(path, "no-such-board.invalid"), look=True, found={})


def test_a_remote_command_of_ssh_is_refused_unless_it_is_overridden(tmp_path: Path) -> None:
    configuration = tmp_path / "config"
    configuration.write_text("Host *\nRemoteCommand tmux\n")
    with pytest.raises(enrol.RefusalError, match=r"RemoteCommand=tmux .* add -o RemoteCommand=none"):
        enrol.require_sense(board(tmp_path, "orin-1", "-F", str(configuration)), [])
    enrol.require_sense(board(tmp_path, "orin-1", "-F", str(configuration), "-o", "RemoteCommand=none"), [])


@needs_root
@pytest.mark.parametrize(
    ("configuration", "address", "name"),
    [
        ("", "127.0.0.1", "[127.0.0.1]:{port}"),
        ("Host orin", "orin", "[127.0.0.1]:{port}"),
        ("Host orin\nHostKeyAlias Rack-1", "orin", "rack-1"),
        ("Host *.lab\nProxyJump gate", "Orin-1.LAB", "[127.0.0.1]:{port}"),
        ("Host orin\nProxyCommand ssh -F {config} -W %h:%p gate", "orin", "[127.0.0.1]:{port}"),
        ("Host orin\nPermitLocalCommand yes\nLocalCommand touch {sockets}/local", "orin", "[127.0.0.1]:{port}"),
        ("Host orin\nRequestTTY force\nCheckHostIP yes\nHashKnownHosts yes", "orin", "[127.0.0.1]:{port}"),
        # connections that are kept must neither be used for the board nor held up by the jump host's
        (
            "Host *\nControlMaster auto\nControlPersist 60\nControlPath {sockets}/%C\nHost orin\nProxyJump gate",
            "orin",
            "[127.0.0.1]:{port}",
        ),
    ],
)
def test_a_board_is_enrolled_where_ansibles_ssh_reaches_it(
    tmp_path: Path, configuration: str, address: str, name: str
) -> None:
    """As somebody whom the controller's key lets in already, so that no password is needed."""
    key = make_public_key(tmp_path / "id")
    gate, server = Server("gate", tmp_path / "gate", key), Server("board", tmp_path / "board", key)
    config, path = tmp_path / "config", tmp_path / "known_hosts"
    (tmp_path / "jumps").write_text(gate.pin)
    this = board(path, address, "-F", str(config), user="root", sudo_nopasswd=False, password="")
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as sockets:  # a socket's path must be short
        hosts = f"Host gate\nPort {gate.port}\nUserKnownHostsFile {tmp_path}/jumps"
        hosts += f"\nHost *\nHostName 127.0.0.1\nPort {server.port}\nIdentityFile {tmp_path}/id\n"
        config.write_text(f"{configuration.format(config=config, sockets=sockets)}\n{hosts}")
        try:
            gate.start()
            server.start()
            began = time.monotonic()
            enrol.enrol(this, look=False, found=found)
            assert time.monotonic() - began < 20
            assert not (Path(sockets) / "local").exists()
            strict = ["UserKnownHostsFile={path}", "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes"]
            options = [part.format(path=path) for option in (*strict, "BatchMode=yes") for part in ("-o", option)]
            reached = subprocess.run([*this.ssh[:-1], *options, address, "true"], capture_output=True, text=True)
        finally:
            gate.kill()
            server.kill()
    assert reached.returncode == 0, reached.stderr
    assert path.read_text() == f"{name.format(port=server.port)} {server.host_key}\n"
    assert found["changed"] and found["host_key"].endswith(" (new)")


@needs_root
def test_a_connection_from_before_does_not_count(tmp_path: Path) -> None:
    """One that ssh shares, by ControlPath, would let in whom the board lets in no more."""
    server = Server("board", tmp_path / "board", make_public_key(tmp_path / "id"))
    config, pins = tmp_path / "config", tmp_path / "known_hosts"
    pins.write_text(server.pin)
    with tempfile.TemporaryDirectory() as sockets:
        config.write_text(
            f"Host *\nControlMaster auto\nControlPersist 60\nControlPath {sockets}/%C\nPort {server.port}\n"
        )
        options = ("-F", str(config), "-o", f"IdentityFile={tmp_path}/id", "-o", f"UserKnownHostsFile={pins}")
        this = board(pins, "127.0.0.1", *options, user="root", password="")
        try:
            server.start()
            subprocess.run([*this.ssh, "true"], check=True)
            assert list(Path(sockets).iterdir())
            (server.folder / "authorized_keys").write_text("")
            with pytest.raises(enrol.RefusalError, match=r"root@127\.0\.0\.1 needs a password, and none was given"):
                enrol.enrol(this, look=False, found={})
        finally:
            server.kill()


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


@needs_root
@pytest.mark.parametrize("key_works", [False, True], ids=["for login", "for sudo"])
def test_a_password_that_was_given_beforehand_goes_to_no_new_host_key_that_nobody_confirmed(
    tmp_path: Path, key_works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, path = Server("board", tmp_path / "board", make_public_key(tmp_path / "id")), tmp_path / "known_hosts"
    sent = []
    monkeypatch.setattr(enrol, "_add_key", lambda *_: sent.append("to log in"))
    monkeypatch.setattr(enrol, "run_as_root", lambda *_, **__: sent.append("to sudo"))
    monkeypatch.setattr(enrol, "access", lambda *_: (key_works, False, "Permission denied"))
    ways = ("127.0.0.1", "-p", str(server.port))
    options = {"user": "root", "sudo_nopasswd": not key_works}

    def attempt(look: bool = False, **different: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        sent.clear()
        with contextlib.suppress(enrol.RefusalError):
            enrol.enrol(board(path, *ways, **options, **different), look=look, found=found)
        return found

    try:
        server.start()
        looked = attempt(look=True)
        fingerprint = looked["host_key"].split()[1]
        assert looked["wants_confirmation"] and not sent
        with pytest.raises(enrol.RefusalError, match="which nobody confirmed: no password was sent") as refusal:
            enrol.enrol(board(path, *ways, **options), look=False, found={})
        assert fingerprint in str(refusal.value)
        attempt(fingerprint=fingerprint)  # the one that was shown, which is no confirmation by itself
        assert not sent and not path.exists()  # a pin would let the next one send it
        assert not attempt(look=True, fingerprint=fingerprint)["wants_confirmation"]
        assert not attempt(look=True, password="")["wants_confirmation"]
        attempt(confirmed=True)
        assert sent and path.exists()
        assert not attempt(look=True)["wants_confirmation"]
        attempt()
        assert sent  # it is pinned
    finally:
        server.kill()
