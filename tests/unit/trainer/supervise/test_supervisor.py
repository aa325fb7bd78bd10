"""The supervisor: whatever becomes of the trainer, a result is left and no process."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests import PROJECT
from trainer.contract.cluster import Cluster
from trainer.contract.layout import PEERS_KEY
from trainer.supervise import supervisor, watchdog
from trainer.supervise.peers import Peers

KEY = os.urandom(32)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tf_config.json").write_text(
        json.dumps({"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}})
    )
    (tmp_path / "run.json").write_text("{}")
    return tmp_path


def result_of(folder):
    return json.loads((folder / "result.json").read_text())


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def limits(**seconds):
    return supervisor.Limits(**{"start": 60.0, "stall": 60.0, "total": 60.0, "silence": 60.0, **seconds})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_killed_trainer_leaves_a_result_that_says_so(folder):
    killed = python("import os; print('hello', flush=True); os.kill(os.getpid(), 9)")
    code = supervisor.supervise(killed, folder, limits())
    result = result_of(folder)
    assert code != 0
    assert (result["status"], result["exit_code"]) == ("failed", -9)
    assert "SIGKILL" in result["cause"]
    assert (folder / "trainer.log").read_text() == "hello\n"
    assert result["facts"]["interface"] == "lo"


def test_the_trainer_has_no_proxies_and_is_told_the_training_interface(folder, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.9:3128")
    monkeypatch.setenv("GRPC_PROXY", "http://192.0.2.9:3128")
    code = "import os; print(*(f'{name}={value}' for name, value in os.environ.items()), sep=chr(10))"
    supervisor.supervise(python(code), folder, limits())
    lines = (folder / "trainer.log").read_text().splitlines()
    assert not [line for line in lines if "proxy=" in line.lower()]
    assert "NCCL_SOCKET_IFNAME==lo" in lines


def test_unpacked_images_are_removed_with_the_trainer(folder):
    (folder / "train.images").write_bytes(b"as a killed worker leaves it")
    supervisor.supervise(python("import os; os.kill(os.getpid(), 9)"), folder, limits())
    assert not (folder / "train.images").exists() and (folder / "trainer.log").exists()


def test_a_trainer_that_exits_without_a_result_has_failed(folder):
    assert supervisor.supervise(python("print('no such module', '\\n'); raise SystemExit(3)"), folder, limits()) == 3
    assert "exited with code 3" in result_of(folder)["cause"]
    assert result_of(folder)["cause"].endswith("its log ends with: no such module")


def test_the_log_is_kept_to_its_last_word_but_for_repetition(folder):
    noise = "I tensorflow/core/common_runtime/collective_param_resolver_local.cc:102] AssignCollectiveType RingReduce"
    code = (
        f"import sys; print('first'); print(*[{noise!r}] * 9999, sep=chr(10), flush=True); sys.stderr.write('the end')"
    )
    supervisor.supervise(python(code), folder, limits())
    lines = (folder / "trainer.log").read_text().splitlines()
    assert lines.count(noise) == 100
    assert {line for line in lines if line != noise} == {"first", "the end"}


def test_the_trainers_own_result_counts(folder):
    path = folder / "result.json"
    path.write_text("")  # of a disk that was full
    supervisor.supervise(python(f"open({str(path)!r}, 'w').write('{{\"status\": \"succeeded\"}}')"), folder, limits())
    assert result_of(folder) == {"status": "succeeded"}


def test_an_empty_result_is_none(folder):
    path = folder / "result.json"
    supervisor.supervise(python(f"open({str(path)!r}, 'w').close()"), folder, limits())
    assert result_of(folder)["status"] == "failed"
    path.write_text("")
    beat = {"time_s": 5.0, "still_s": 0.0, "trainer": 1, "boot": "another"}
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    supervisor.stop(folder)
    assert result_of(folder)["cause_kind"] == "reboot"


def test_a_trainer_that_hangs_after_its_result_is_ended(folder, monkeypatch):
    monkeypatch.setattr(supervisor, "_EXIT_GRACE_S", 0.5)
    path = folder / "result.json"
    code = f"import time; open({str(path)!r}, 'w').write('{{}}'); time.sleep(100)"
    began = time.monotonic()
    assert supervisor.supervise(python(code), folder, limits()) == 0
    assert time.monotonic() - began < 20


def test_children_of_the_trainer_end_with_it(folder):
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '100']).pid)"
    supervisor.supervise(python(code), folder, limits())
    assert not alive(int((folder / "trainer.log").read_text()))


def test_stopping_ends_the_trainer_and_leaves_a_result(folder):
    script = (
        "import sys; from pathlib import Path; from trainer.supervise import supervisor; "
        "sys.exit(supervisor.supervise([sys.executable, '-c', "
        "'import os, time; print(os.getpid(), flush=True); time.sleep(100)'], Path(sys.argv[3]).parent, "
        "supervisor.Limits(60, 60, 60, 60)))"
    )
    # its command line names the supervisor and the run, as that of the real one does
    command = [sys.executable, "-c", script, "trainer.supervise.supervisor", "--config", str(folder / "run.json")]
    with subprocess.Popen(command, cwd=PROJECT) as process:
        log, deadline = folder / "trainer.log", time.monotonic() + 20
        (folder / "supervisor.pid").write_text(f"{process.pid}\n")  # as the one that started it does
        while not (log.exists() and log.read_text().endswith("\n")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        waiter = subprocess.Popen(
            [sys.executable, "-m", "trainer.supervise.supervisor", "--config", str(folder / "run.json"), "--stop"],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            text=True,
        )
        process.wait(timeout=20)
        said, _ = waiter.communicate(timeout=20)
    assert said == "stopped\n"
    assert result_of(folder)["status"] == "interrupted"
    assert not alive(int(log.read_text()))


def test_stopping_spares_a_stranger_with_the_same_number(folder):
    (folder / "supervisor.pid").write_text(f"{os.getpid()}\n")
    assert supervisor.stop(folder) is False


def test_stopping_what_does_not_run_is_no_error(folder):
    assert supervisor.stop(folder) is False
    assert signal.getsignal(signal.SIGTERM) is not None


# ---- when a trainer is ended


SLEEP = "import time; time.sleep(100)"
STEP = "from trainer.contract.records import EventLog; from pathlib import Path; EventLog(Path({!r})).progress(); "


def kind_of_end(folder, code, **seconds):
    began = time.monotonic()
    assert supervisor.supervise(python(code), folder, limits(**seconds)) != 0
    assert time.monotonic() - began < 20
    result = result_of(folder)
    assert result["status"] == "failed" and result["remedy"]
    return result["cause_kind"]


def test_a_trainer_that_makes_no_first_step_is_ended(folder):
    assert kind_of_end(folder, SLEEP, start=1) == "never_started"


def test_a_trainer_that_is_up_but_makes_no_step_may_only_be_slow(folder, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (folder / "tf_config.json").write_text(
            json.dumps({"cluster": {"worker": [address]}, "task": {"type": "worker", "index": 0}})
        )
        monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.5)
        supervisor.supervise(python(SLEEP), folder, limits(start=0.5))
    result = result_of(folder)
    assert result["cause_kind"] == "slow_start" and "train_start_limit_s" in result["remedy"]


@pytest.mark.parametrize("later_s", [0.0, 1.5], ids=["at once", "later"])
def test_of_a_trainer_that_lost_its_peer_the_peers_own_words_are_the_cause(folder, later_s, monkeypatch):
    monkeypatch.setattr(watchdog, "_MEET_S", 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    addresses = [f"127.0.0.1:{port - 1}", "127.0.0.2:20000"]
    (folder / "tf_config.json").write_text(
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}})
    )
    left = {"status": "failed", "cause": "UnavailableError: Graph execution error:", "cause_kind": "peer"}
    code = f"import pathlib; pathlib.Path({str(folder / 'result.json')!r}).write_text({json.dumps(left)!r})"
    (folder / PEERS_KEY).write_bytes(KEY)

    def say():
        time.sleep(later_s)
        other = Peers(Cluster(addresses, 1), ["a", "b"], KEY, 60.0)
        for _ in range(4):  # the supervisor may not listen yet
            other.farewell("failed", "it was killed")
            other = Peers(Cluster(addresses, 1), ["a", "b"], KEY, 60.0)
        other._socket.close()

    peer = threading.Thread(target=say)
    peer.start()
    supervisor.supervise(python(code), folder, limits(silence=5))
    peer.join()
    assert result_of(folder)["cause"].endswith("failed: it was killed")


def test_a_trainer_that_stalls_is_ended(folder, monkeypatch):
    monkeypatch.setattr(watchdog, "_PATIENCE_S", 0.5)
    code = STEP.format(str(folder / "events.jsonl")) + SLEEP
    assert kind_of_end(folder, code, stall=1) == "stalled"


def test_a_trainer_that_was_stopped_is_told_from_one_that_stalls(folder):
    code = STEP.format(str(folder / "events.jsonl")) + "import os; os.kill(os.getpid(), 19)"
    assert kind_of_end(folder, code, stall=1) == "stopped"


def test_a_trainer_that_moves_is_left_alone_until_the_run_takes_too_long(folder):
    code = "import time\n" + STEP.format(str(folder / "events.jsonl"))
    code += f"\nwhile True: EventLog(Path({str(folder / 'events.jsonl')!r})).progress(); time.sleep(0.1)"
    assert kind_of_end(folder, code, stall=1, total=3) == "timeout"


def test_what_is_left_of_a_run_whose_supervisor_is_gone_is_ended_and_gets_its_cause(folder):
    command = [sys.executable, "-c", SLEEP, "trainer", "--config", str(folder / "run.json")]
    with subprocess.Popen(command, start_new_session=True) as trainer:
        while not Path(f"/proc/{trainer.pid}/cmdline").read_bytes():
            time.sleep(0.01)  # it has not quite begun
        beat = {"time_s": 5.0, "still_s": 0.0, "trainer": trainer.pid, "boot": watchdog.boot()}
        (folder / "heartbeat.json").write_text(json.dumps(beat))
        assert supervisor.stop(folder) is True
    assert (result_of(folder)["cause_kind"], result_of(folder)["ended_s"]) == ("killed", 5.0)


def test_a_reboot_is_told_from_a_kill(folder):
    beat = {"time_s": 5.0, "still_s": 0.0, "trainer": 1, "boot": "another"}
    (folder / "heartbeat.json").write_text(json.dumps(beat))
    assert supervisor.stop(folder) is False
    assert result_of(folder)["cause_kind"] == "reboot"


def test_what_ends_the_supervisor_itself_is_in_the_log(folder):
    (folder / "tf_config.json").unlink()
    limits = [f"--{name}-limit=60" for name in ("start", "stall", "total", "silence")]
    command = [sys.executable, "-m", "trainer.supervise.supervisor", "--config", str(folder / "run.json"), *limits]
    subprocess.run(command, cwd=PROJECT, check=True, timeout=20)
    deadline = time.monotonic() + 20
    while "tf_config.json" not in (folder / "trainer.log").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "tf_config.json" in (folder / "trainer.log").read_text()


# ---- strangers on the network


@pytest.fixture
def two(folder, monkeypatch):
    """Two boards' addresses: the folder's is the first, which has the key of the start."""
    monkeypatch.setattr(watchdog, "_MEET_S", 2.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    addresses = [f"127.0.0.1:{port - 1}", f"127.0.0.2:{port - 1}"]
    (folder / "tf_config.json").write_text(
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}})
    )
    (folder / PEERS_KEY).write_bytes(KEY)
    return addresses


def steps(folder, seconds):
    """A trainer that makes steps for some seconds and then succeeds."""
    code = "import time, pathlib\n" + STEP.format(str(folder / "events.jsonl"))
    code += f"log = EventLog(Path({str(folder / 'events.jsonl')!r}))"
    code += f"\nfor _ in range({int(seconds * 20)}): log.progress(); time.sleep(0.05)"
    return code + f'\npathlib.Path({str(folder / "result.json")!r}).write_text(\'{{"status": "succeeded"}}\')'


def strangers_datagrams(folder):
    word = {"run_id": folder.name, "rank": 1, "state": "failed", "cause": "forged"}
    yield from (b"[" * 2048, b"[" * 60_000, b"", json.dumps(word).encode())
    yield from (os.urandom(1 + n % 1400) for n in range(10_000))


def test_a_run_succeeds_whatever_strangers_send(folder, two):
    def say():
        other = Peers(Cluster(two, 1), ["a", "b"], KEY, 60.0)
        while not ended.is_set():
            other.exchange()
            time.sleep(0.1)
        other._socket.close()

    def disturb():
        time.sleep(0.5)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for n, datagram in enumerate(strangers_datagrams(folder)):
                stranger.sendto(datagram, ("127.0.0.1", int(two[0].rpartition(":")[2]) + 1))
                if n % 100 == 99:
                    time.sleep(0.02)

    ended = threading.Event()
    threads = [threading.Thread(target=job) for job in (say, disturb)]
    for thread in threads:
        thread.start()
    supervisor.supervise(python(steps(folder, 4)), folder, limits(silence=3))
    ended.set()
    for thread in threads:
        thread.join()
    assert result_of(folder) == {"status": "succeeded"}
    assert not (folder / PEERS_KEY).exists()


def test_forged_heartbeats_do_not_keep_a_dead_board_alive(folder, two):
    heard = []

    def say():
        other = Peers(Cluster(two, 1), ["a", "b"], KEY, 60.0)
        send = other._socket.sendto
        other._socket = type("Tap", (), {"sendto": lambda self, *sent: (heard.append(sent[0]), send(*sent))})()
        for _ in range(8):
            other._send("running", None, [0])
            time.sleep(0.2)
        died.append(time.monotonic())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            while not ended.is_set():
                for datagram in [*heard, *(os.urandom(60) for _ in range(20))]:
                    stranger.sendto(datagram, ("127.0.0.1", int(two[0].rpartition(":")[2]) + 1))
                time.sleep(0.05)

    ended, died = threading.Event(), []
    peer = threading.Thread(target=say)
    peer.start()
    supervisor.supervise(python(steps(folder, 30)), folder, limits(silence=2))
    noticed = time.monotonic()
    ended.set()
    peer.join()
    result = result_of(folder)
    assert (result["status"], result["cause_kind"]) == ("failed", "network"), result
    assert noticed - died[0] < 2 + 4, "the limit, a look, and the farewell"
