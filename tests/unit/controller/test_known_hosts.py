"""Files of host keys: what they say of a host, what is no line of one, and how a key is added."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
from pathlib import Path

import pytest

from analysis import AnalysisError
from controller import known_hosts

ED25519 = "AAAAC3NzaC1lZDI1NTE5AAAAIN/KLhCK2V1+GPYylRAgmxxYOedjCJzGu/2yzdNCoUq6"
KEY = f"ssh-ed25519 {ED25519}".encode()
# as of a security key that serves as a host key, which paramiko does not know
SK = b"sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIN/KLhCK2V1+GPYylRAgmxxYOedjCJzGu/2yzdNCoUq6AAAABHNzaDo="  # noqa: E501


def make_blob(folder: Path, kind: str = "ed25519") -> tuple[str, bytes]:
    """A host key's type and bytes."""
    path = folder / f"key_{kind}_{len(list(folder.iterdir()))}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    (pin,) = known_hosts.read_whole(one_line(folder, b"host " + path.with_suffix(".pub").read_bytes())).pins
    return pin.kind, pin.blob


def one_line(folder: Path, content: bytes) -> Path:
    path = folder / "known_hosts"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_pin_is_shown_as_ssh_keygen_shows_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
    listed = subprocess.run(["ssh-keygen", "-lf", path], check=True, capture_output=True, text=True).stdout.split()
    (pin,) = known_hosts.read_whole(one_line(tmp_path, b"host " + path.with_suffix(".pub").read_bytes())).of("host")
    assert pin.shown == f"{listed[-1].strip('()')} {listed[1]}"


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"orin-1 " + KEY, "orin-1"),
        (b"orin-2,orin-1,192.168.1.11 " + KEY + b" a comment", "orin-1"),
        (b"orin-?,!orin-2 " + KEY, "orin-1"),
        (b"[orin-1]:2222 " + KEY, "[orin-1]:2222"),
        (b"|1|7Ox5CQ6PZj5vIdf4c6IYpTYuOfw=|0QR7wrKNGqYFn7CiGjMZq2qYHsM= " + KEY, "hashed"),
        (b"orin-1 " + KEY + b"\r", "orin-1"),
        (b" \torin-1\t" + KEY.replace(b" ", b"\t"), "orin-1"),
        (b"orin-1 " + KEY + " Küche".encode("latin-1"), "orin-1"),
        (b"orin-1 " + SK, "orin-1"),
    ],
)
def test_a_host_is_found_where_ssh_finds_it(tmp_path: Path, line: bytes, name: str) -> None:
    path = one_line(tmp_path, b"# mine\n\n" + line + b"\n")
    if name == "hashed":
        name = "orin-1"
        path.write_bytes(b"# mine\n\norin-1 " + KEY + b"\n")
        subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
        assert b"orin" not in path.read_bytes()
    known = known_hosts.read_whole(path)
    (pin,) = known.of(name)
    assert pin.line == 3
    assert pin.kind in ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
    assert not known.of("host-9")
    assert not known.of("[orin-1]:22022")


@pytest.mark.parametrize("marker", ["@cert-authority", "@revoked"])
def test_a_marker_is_told_with_the_pin(tmp_path: Path, marker: str) -> None:
    path = one_line(tmp_path, f"{marker} *.lab,!x.lab {KEY.decode()}\n".encode())
    (pin,) = known_hosts.read_whole(path).of("orin.lab")
    assert pin.marker == marker
    assert not known_hosts.read_whole(path).of("x.lab")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"10.0.0.1 " + KEY[:-9], "damaged"),
        (b"10.0.0.1 " + KEY[:-8], "damaged"),  # still base64
        (b"10.0.0.1 " + KEY + b"10.0.0.2 " + KEY, "damaged"),  # two lines in one
        (b"10.0.0.1 " + KEY + b"\r10.0.0.2 " + KEY, "damaged"),  # an old Mac's lines
        (b"10.0.0.1 ssh-ed25519", "incomplete"),
        (b"10.0.0.1", "incomplete"),
        (b"@revoked 10.0.0.1 ssh-ed25519", "incomplete"),
        (b"@trusted 10.0.0.1 " + KEY, "@trusted is not a marker"),
        (b"10.0.0.1 ssh-rsa " + ED25519.encode(), "not a key of the type ssh-rsa"),
        (b"10.0.0.1 1024 35 1596210946", "damaged"),  # of SSH 1
        ("küche ".encode("latin-1") + KEY, "not in ASCII"),
        (b"\xef\xbb\xbf10.0.0.1 " + KEY, "byte order mark"),
    ],
)
def test_a_line_that_ssh_would_pass_over_is_refused_by_file_and_number(tmp_path: Path, line: bytes, why: str) -> None:
    path = one_line(tmp_path, (b"" if line[:1] == b"\xef" else b"# mine\n") + line + b"\n10.0.0.3 " + KEY + b"\n")
    number = 1 if line[:1] == b"\xef" else 2
    with pytest.raises(AnalysisError, match=rf"{path}, line {number}: .*{re.escape(why)}.*: correct or remove it"):
        known_hosts.read_whole(path)
    assert [pin.names for pin in known_hosts.read(path).pins] == [b"10.0.0.3"]
    with pytest.raises(AnalysisError):
        known_hosts.add(path, "10.0.0.4", "ssh-ed25519", b"")
    assert line in path.read_bytes()


def test_all_such_lines_are_told_of_at_once_but_not_without_end(tmp_path: Path) -> None:
    path = one_line(tmp_path, b"a\nb\nc\nd\ne\nf\ng\n")
    with pytest.raises(AnalysisError, match=r"line 1: .*line 5: .*; and 2 more"):
        known_hosts.read_whole(path)


def test_another_encoding_is_told_of_once(tmp_path: Path) -> None:
    path = one_line(tmp_path, f"# mine\n10.0.0.1 {KEY.decode()}\n".encode("utf-16"))
    with pytest.raises(AnalysisError, match=rf"^{path}, line 1: it is not UTF-8 \(perhaps UTF-16\):"):
        known_hosts.read_whole(path)


def test_what_is_no_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    for path in (tmp_path, Path("/dev/null")):
        with pytest.raises(AnalysisError, match=f"{path} is not a file"):
            known_hosts.add(path, "10.0.0.1", "ssh-ed25519", b"")
    assert Path("/dev/null").is_char_device()
    assert known_hosts.read_whole(tmp_path / "none").pins == ()


def test_a_key_is_added_where_its_name_sorts_and_every_other_byte_stays() -> None:
    (_, blob), name = ("", b"\0\0\0\1x"), "ssh-ed25519"
    before = b"# mine\n\n\n# K\xfcche\n9.9.9.9 " + KEY + b" a comment\r\n9.9.9.9 " + KEY + b"\nbbb " + KEY
    text = known_hosts.with_pin(before, "2.2.2.2", name, blob)
    text = known_hosts.with_pin(text, "1.1.1.1", name, blob)
    text = known_hosts.with_pin(text, "ccc", name, blob)
    new = b" ssh-ed25519 AAAAAXg=\n"
    assert text == before.replace(b"# K", b"1.1.1.1" + new + b"2.2.2.2" + new + b"# K") + b"\nccc" + new
    assert known_hosts.with_pin(text, "1.1.1.1", name, blob) == text
    assert known_hosts.with_pin(b"", "1.1.1.1", name, blob) == b"1.1.1.1" + new


def test_a_link_stays_a_link_and_a_mode_stays(tmp_path: Path) -> None:
    kind, blob = make_blob(tmp_path)
    path, link = tmp_path / "real/known_hosts", tmp_path / "linked"
    path.parent.mkdir()
    path.write_bytes(b"")
    path.chmod(0o600)
    link.symlink_to(path)
    known_hosts.add(link, "10.0.0.1", kind, blob)
    assert link.is_symlink()
    assert len(known_hosts.read_whole(path).of("10.0.0.1")) == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_hosts_that_are_pinned_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    kind, blob = make_blob(tmp_path)
    path = tmp_path / "new/known_hosts"
    path.parent.mkdir()
    context = multiprocessing.get_context("fork")  # as Ansible's workers
    workers = [context.Process(target=known_hosts.add, args=(path, f"10.0.0.{n}", kind, blob)) for n in range(10, 40)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [line.split()[0] for line in path.read_text().splitlines()] == [f"10.0.0.{n}" for n in range(10, 40)]
    assert path.stat().st_mode & 0o777 == 0o644


def test_only_a_hosts_own_lines_are_removed_and_every_other_byte_stays(tmp_path: Path) -> None:
    own = b"orin-1 " + KEY + b"\n"
    others = [
        b"# K\xfcche\n\norin-1,orin-2 " + KEY + b"\n",
        b"orin-? " + KEY + b" a comment\r\n@revoked orin-1 " + KEY + b"\n",
        b"orin-11 " + KEY + b"\n[orin-1]:2222 " + KEY,
    ]
    path = one_line(tmp_path, own.join(others))
    path.chmod(0o640)
    assert known_hosts.remove(path, "orin-1") == 5
    assert path.read_bytes() == b"".join(others) and path.stat().st_mode & 0o777 == 0o640
    changed = path.stat()
    assert known_hosts.remove(path, "orin-1") == 5
    assert path.stat() == changed, "nor is it written again"


def test_a_hashed_line_is_a_hosts_own(tmp_path: Path) -> None:
    path = one_line(tmp_path, b"orin-1 " + KEY + b"\norin-2 " + KEY + b"\n")
    subprocess.run(["ssh-keygen", "-H", "-f", path], check=True, capture_output=True)
    assert known_hosts.remove(path, "orin-1") == 1
    assert not known_hosts.read_whole(path).of("orin-1") and known_hosts.read_whole(path).of("orin-2")
