"""Every parser of what comes from outside: given any bytes, it returns or raises one of its documented errors.

To add one: a function of bytes with `@_target`, the errors that it may raise and how many inputs `make test` gives it,
and some small seeds in tests/fuzz/corpus/<its name>/. What else may go wrong (another error, a crash, too long, too
much memory) is a finding for whoever runs it: test_fuzz.py and __main__.py.
"""

from __future__ import annotations

import atexit
import gzip
import hmac
import importlib.util
import io
import json
import pickle
import random
import shutil
import socket
import struct
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest import mock

from analysis.publish.verify import verify
from analysis.runs import wallmeter
from analysis.runs.errors import AnalysisError
from analysis.runs.eventlog import read_but_windows
from analysis.runs.manifest import read_manifest, read_result
from analysis.runs.timeline import read_clock
from analysis.runs.unpacking import UnpackError, unpack
from analysis.watch.alerts import alerts
from analysis.watch.board import Board
from controller import known_hosts, local_files, requirements_file, strict_yaml
from controller.gates.report import report
from controller.kinds import of_answer
from controller.mirror import Mirror
from tests import PROJECT
from tests.unit.controller.gates.facts import GOOD, request
from trainer.contract import config, releases, tegrastats
from trainer.contract.checkpoints import Place, whole
from trainer.contract.cluster import Cluster
from trainer.contract.fields import ConfigError
from trainer.contract.layout import PEERS_KEY_BYTES
from trainer.contract.records import first_sample, last_sample, read_records
from trainer.contract.run import load_run
from trainer.formats import archives, checkpoint, npz, unpickle, weights
from trainer.formats.archives import ArchiveError
from trainer.supervise import collective_log, facts, witness
from trainer.supervise.elastic_peers import ElasticPeers
from trainer.supervise.membership import Membership
from trainer.supervise.peers import Peers

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """A parser: what it does with any bytes, and which errors say that they cannot be read."""

    run: Callable[[bytes], object]
    errors: tuple[type[Exception], ...]
    examples: int  # inputs in `make test`

    @property
    def name(self) -> str:
        return self.run.__name__

    def __call__(self, content: bytes) -> None:
        try:
            self.run(content)
        except self.errors as error:
            assert str(error), f"{type(error).__name__} says nothing"

    @property
    def corpus(self) -> Path:
        return CORPUS / self.name

    def seeds(self) -> list[bytes]:
        return [path.read_bytes() for path in sorted(self.corpus.iterdir())]


TARGETS: dict[str, Target] = {}


def _target(
    *errors: type[Exception], examples: int
) -> Callable[[Callable[[bytes], object]], Callable[[bytes], object]]:
    def register(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        TARGETS[run.__name__] = Target(run, errors, examples)
        return run

    return register


@cache
def _folder() -> Path:
    """A folder of this process, for parsers that read files."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(name: str, content: bytes) -> Path:
    path = _folder() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _text(content: bytes) -> str:
    return content.decode(errors="surrogateescape")


# ---- what boards send and leave


@_target(examples=1000)
def records(content: bytes) -> None:
    path = _file("events.jsonl", content)
    read_records(path)
    read_but_windows(path)
    first_sample(path)
    last_sample(path)


@_target(examples=1000)
def result(content: bytes) -> None:
    read_result(_file("result.json", content))


@_target(examples=800)
def manifest(content: bytes) -> None:
    read_manifest(_file("manifest.json", content).parent)


@_target(examples=1000)
def clock(content: bytes) -> None:
    read_clock(_file("clock.json", content).parent)


@_target(ConfigError, examples=1000)
def run_json(content: bytes) -> None:
    load_run(_file("run.json", content))


@_target(examples=1000)
def watched(content: bytes) -> None:
    """A board's records, samples and live.json, as `watch` follows them."""
    board = Board("board-1", 4, 0.0)
    for line in content.split(b"\n"):
        board.take_event(line, 1.0)
        board.take_sample(line, 1.0)
    try:
        live = json.loads(content)
    except (ValueError, RecursionError):
        live = None
    if isinstance(live, dict):
        board.take_live(live, 1.0, 1e9)
    alerts([board], 2.0)


@_target(examples=500)
def mirrored(content: bytes) -> None:
    """A board's answer to a look at it, during a run."""
    home = _folder() / "mirror"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    Mirror(home, "/opt/cluster-kit/runs/x", 2.0).take(_text(content))


@_target(examples=2000)
def tegrastats_line(content: bytes) -> None:
    reading = tegrastats.parse(content.decode(errors="replace"))
    tegrastats.summed_rails(reading.power_mw)
    tegrastats.hottest_c(reading.temperature_c)
    json.dumps(vars(reading), allow_nan=False)  # what telemetry writes of it


@_target(examples=1000)
def trainer_log(content: bytes) -> None:
    collective_log.collective_used(_file("trainer.log", content))


@_target(ConfigError, examples=200)
def survey_answer(content: bytes) -> None:
    """What one board prints as its facts, or as its error, beside a board that is well."""
    asked = request({"good": GOOD, "odd": GOOD, "failed": GOOD})
    asked["answers"]["odd"]["stdout"] = _text(content)
    asked["answers"]["failed"] = {"rc": 1, "stdout": _text(content), "stderr": _text(content)}
    said = report(asked)
    json.dumps(said, allow_nan=False)
    assert said["boards"]["good"]["jetpack"] == GOOD["jetpack"]
    kind = of_answer({"stdout": _text(content)})
    assert kind["name"] in ("jetson", "linux") and kind["label"].isprintable() and kind["problem"].isprintable()


@_target(ConfigError, examples=200)
def measured_links(content: bytes) -> None:
    json.dumps(report(request({"board-1": GOOD, "board-2": GOOD}, measured=[_text(content)])), allow_nan=False)


@_target(UnpackError, OSError, examples=300)
def board_archive(content: bytes) -> None:
    """A tar archive from a board (given unpacked, since changed bytes of a gzip file are only a broken one)."""
    home = _folder() / "unpacked"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    archive = _file("board.tar.gz", gzip.compress(content, 0))
    unpack(archive, home, strict=False, max_bytes=1 << 22, max_members=100)
    outside = [path for path in home.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    assert not outside


# ---- a board's own tools


@cache
def _power() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzzed_jetson_power", PROJECT / "plugins/modules/jetson_power.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@_target(ValueError, examples=300)
def nvpmodel_answer(content: bytes) -> None:
    """What nvpmodel -q and jetson_clocks print."""
    text = content.decode(errors="replace")
    with mock.patch.object(facts, "_output", return_value=text):
        _file("root/etc/nvpmodel.conf", b"< POWER_MODEL ID=0 NAME=MAXN >\nGPU_PG_MASK /nowhere\n")
        facts._power(_folder() / "root")
    _power().not_restored(text, lambda name: None)
    _power().shows_gpu(text)
    for parse in (_power().parse_mode, _power().clocks_pinned):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


@_target(ValueError, examples=500)
def nvpmodel_conf(content: bytes) -> None:
    modes = _power().parse_modes(content.decode(errors="replace"))
    _file("root/etc/nvpmodel.conf", content)
    printed = f"NV Power Mode: {next(iter(modes.values()), 'MAXN')}\n0\n"
    with mock.patch.object(facts, "_output", return_value=printed):
        facts._power(_folder() / "root")
    _power().find_mode(modes, "MAXN")


@_target(examples=500)
def l4t_release(content: bytes) -> None:
    text = content.decode(errors="replace")
    releases.jetpack(text, None)
    releases.jetpack(None, text)


# ---- the network


@cache
def _port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@_target(examples=2000)
def heartbeat(content: bytes) -> None:
    """A stranger's datagram, and one of a board that is of the run."""
    key = b"k" * PEERS_KEY_BYTES
    cluster = Cluster([f"127.0.0.1:{_port() - 1}", "127.0.0.2:9"], 0)  # peers listen at the port after TensorFlow's
    peers = Peers(cluster, ["board-1", "board-2"], key, 1e9)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, peers._socket:
        sender.sendto(content[:60_000], ("127.0.0.1", _port()))
        assert peers.exchange() is None, "a stranger's datagram was believed"
        sender.sendto((hmac.digest(key, content, "sha256") + content)[:60_000], ("127.0.0.1", _port()))
        peers.exchange()


@_target(examples=1000)
def generation(content: bytes) -> None:
    """What a board of the run says about the next generation."""
    key = b"k" * PEERS_KEY_BYTES
    cluster = Cluster([f"127.0.0.1:{_port() - 1}", "127.0.0.2:9"], 0)
    peers = ElasticPeers(cluster, ["board-1", "board-2"], key, 1e9, Path("/nowhere"))
    part = Membership(0, peers.generation, [Place(1)], min_workers=1, chance=random.Random(1), keep=json.dumps)
    part.tick(0.0)
    said = struct.pack("!HQQBI", 1, 1, 1, 4, 1) + content[:1000]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, peers._socket:
        sender.sendto(hmac.digest(key, said, "sha256") + said, ("127.0.0.1", _port()))
        peers.exchange()
    for rank, message in peers.taken():
        part.receive(rank, message, 1.0)
    part.tick(2.0)
    assert part.decided is None or part.decided.members[-1] < 2


@_target(examples=2000)
def witness_question(content: bytes) -> None:
    """A stranger's datagram, and one of a board of the run."""
    key, home = b"k" * PEERS_KEY_BYTES, _file("witness/granted-7", b"1").parent
    assert witness.answer(home, key, content) is None, "a stranger's question was answered"
    witness.answer(home, key, hmac.digest(key, b"witness asks" + content, "sha256") + content)


# ---- data sets and weights


@_target(pickle.UnpicklingError, ValueError, examples=2000)
def pickled(content: bytes) -> None:
    unpickle.load(io.BytesIO(content), len(content))


@_target(ArchiveError, examples=200)
def cifar100(content: bytes) -> None:
    """CIFAR-100's archive, given unpacked."""
    archives.load("cifar100", _file("images.tar.gz", gzip.compress(content, 0)), None, None)


@_target(ArchiveError, examples=800)
def npz_images(content: bytes) -> None:
    archives.load("npz", _file("images.npz", content), None, None)


@_target(npz.NpzError, zipfile.BadZipFile, EOFError, examples=1000)
def npy(content: bytes) -> None:
    """One array of an archive, whose checksum is right."""
    path = _folder() / "array.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    npz.read(path, 1 << 20)


@_target(examples=1000)
def checkpoints(content: bytes) -> None:
    path = _file("checkpoints/epoch-00001.npz", content)
    for place in whole(path.parent):
        try:
            checkpoint.Checkpoints(path.parent.parent).newest()
        except npz.NpzError as error:
            assert str(error) and place == Place(1)


@_target(ArchiveError, examples=200)
def weight_file(content: bytes) -> None:
    path = _file("weights.h5", content)
    local_files.kind(path)
    weights.check(path)


# ---- what people give


@_target(ConfigError, examples=300)
def experiment(content: bytes) -> None:
    """A preset: strict YAML, then the configuration."""
    config.parse(strict_yaml.read(_file("experiment.yml", content), "experiment.yml") or {})


@_target(ConfigError, examples=150)
def wall_meter(content: bytes) -> None:
    wallmeter.readings(_file("meter.csv", content), 1.7953e9, 1.79531e9)


@_target(AnalysisError, examples=1000)
def known_hosts_file(content: bytes) -> None:
    known = known_hosts.read(_file("known_hosts", content))
    for pin in known.pins:
        assert pin.shown
        known_hosts.own(pin, "board-1")
    known_hosts.with_pin(content, "board-1", "ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\1k")


@_target(examples=300)
def requirements(content: bytes) -> None:
    settings = {
        "requirements": "requirements.txt",
        "pycuda": "pycuda==2022.2.2",
        "python_version": "3.8",
        "machine": "aarch64",
        "tensorflow": "tensorflow==2.12.0",
        "pins": {"numpy": "1.23.5"},
        "wheel": content[:200].partition(b"\n")[0].decode(errors="replace"),
    }
    text = content.decode(errors="replace")
    planned = requirements_file.plan(text, settings)
    requirements_file.parts(text, planned["packages"], settings)


@_target(OSError, examples=20)
def bundle(content: bytes) -> None:
    """An evidence bundle, given unpacked."""
    verify(_file("evidence.tar.gz", gzip.compress(content, 0)))
