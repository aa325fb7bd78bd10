"""What a board says of itself while it trains."""

import os
import time

import pytest

from tests.unit.unreadable import answer_with_eagain
from trainer.contract import frequencies, layout, records
from trainer.contract.records import read_records
from trainer.supervise import facts, telemetry
from trainer.supervise.telemetry import Telemetry

LINE = "RAM 100/200MB CPU [50%@729,off] GR3D_FREQ 30% GPU@41.5C VDD_GPU_SOC 4788mW/4788mW"


def samples(folder, seconds):
    at_work = Telemetry(folder, "lo")
    time.sleep(seconds)
    at_work.stop()
    records, bad = read_records(folder / layout.TELEMETRY)
    assert bad == []
    return records


def test_without_tegrastats_the_kernel_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.2)
    found = samples(tmp_path, 1.5)
    assert 3 <= len(found) <= 7
    assert all(record["memory_bytes"] > 1e6 and 0 <= record["cpu_load"] <= 1 for record in found)
    assert all(record["gpu_load"] is None and record["power_mw"] == {} for record in found)
    assert found[-1]["sent_bytes"] is not None


def zone(thermal, number, name, celsius):
    folder = thermal / f"thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{name}\n")
    (folder / "temp").write_text(f"{celsius}\n")
    return folder / "temp"


def test_a_sensor_that_cannot_be_read_is_missing_and_the_others_are_there(tmp_path, monkeypatch):
    zone(tmp_path, 0, "cpu-thermal", 43500)
    answer_with_eagain(monkeypatch, zone(tmp_path, 1, "cv0-thermal", 0))
    zone(tmp_path, 2, "cv1-thermal", -256000)
    eio = zone(tmp_path, 3, "cv2-thermal", 0)
    eio.unlink()
    eio.symlink_to("/proc/self/mem")  # whose first byte cannot be read: EIO
    zone(tmp_path, 4, "soc0-thermal", "")
    (zone(tmp_path, 5, "nameless", 50000).parent / "type").unlink()
    zone(tmp_path, 6, "PMIC-Die", 100000)
    assert telemetry._temperatures(tmp_path) == {"cpu-thermal": 43.5, "PMIC-Die": 100.0}


@pytest.mark.parametrize("after", ["exec sleep 100", "exit 0"], ids=["it goes on", "it ends"])
def test_tegrastats_is_read_and_ended(tmp_path, monkeypatch, after):
    pid = tmp_path / "pid"
    tool = tmp_path / "tegrastats"
    tool.write_text(f"#!/bin/sh\necho $$ > {pid}\necho '{LINE}'\necho '{LINE[:40]}'\n{after}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.2)
    found = samples(tmp_path, 1.5)
    assert found[0]["power_mw"] == {"VDD_GPU_SOC": 4788} and found[0]["temperature_c"] == {"GPU": 41.5}
    assert (found[0]["cpu_load"], found[0]["gpu_load"], found[1]["gpu_load"]) == (0.5, 0.3, None)
    assert (len(found) > 2) == (after == "exit 0"), "where it has ended, the kernel is asked"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_a_board_that_measures_power_rests_first(tmp_path, monkeypatch):
    tool = tmp_path / "tegrastats"
    tool.write_text(f"#!/bin/sh\nwhile sleep 0.1; do echo '{LINE}'; done\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    at_work = Telemetry(tmp_path, "lo")
    at_work.rest(0.5)
    time.sleep(0.5)
    at_work.stop()
    idle = [record["idle"] for record in read_records(tmp_path / layout.TELEMETRY)[0]]
    assert idle == sorted(idle, reverse=True) and idle.count(True) >= 2 and idle.count(False) >= 2


def test_a_board_that_does_not_measure_power_does_not_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    at_work, before = Telemetry(tmp_path, "lo"), time.monotonic()
    at_work.rest(60)
    at_work.stop()
    assert time.monotonic() - before < 10


def test_what_lowered_the_clocks_is_counted_in_every_sample(tmp_path, monkeypatch):
    counter = tmp_path / "sys/class/hwmon/hwmon3/oc3_event_cnt"
    counter.parent.mkdir(parents=True)
    (counter.parent / "name").write_text("soctherm_oc\n")
    counter.write_text("40\n")
    gpu = tmp_path / "sys/class/devfreq/17000000.ga10b"
    gpu.mkdir(parents=True)
    (gpu / "min_freq").write_text("9\n")
    (gpu / "max_freq").write_text("9\n")
    monkeypatch.setattr(frequencies, "SYS", tmp_path / "sys")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(telemetry, "INTERVAL_S", 0.1)
    at_work = Telemetry(tmp_path, "lo")
    time.sleep(0.4)
    counter.write_text("45\n")
    (gpu / "min_freq").write_text("3\n")
    time.sleep(0.4)
    at_work.stop()
    first, last = records.first_sample(tmp_path / layout.TELEMETRY), records.last_sample(tmp_path / layout.TELEMETRY)
    assert first is not None and last is not None
    assert (first["over_current_events"], last["over_current_events"]) == ({"oc3": 0}, {"oc3": 5})
    assert (first["clocks_pinned"], last["clocks_pinned"], last["throttled_s"]) == (True, False, None)
    told = facts.clocks(tmp_path)
    assert told["frequencies_hz"] == {"17000000.ga10b": [3, 9]}
    assert told["clocks_pinned"] == {"start": True, "end": False}
    assert (told["over_current_events"], told["throttled_s"]) == ({"oc3": 5}, None)


def test_a_run_without_samples_tells_nothing_of_what_lowered_the_clocks(tmp_path, monkeypatch):
    monkeypatch.setattr(frequencies, "SYS", tmp_path)
    told = facts.clocks(tmp_path)
    assert told.pop("clocks_pinned") == {"start": None, "end": None}
    assert set(told.values()) == {None}


def test_the_latest_sample_of_a_file_that_grows(tmp_path):
    path = tmp_path / layout.TELEMETRY
    assert records.last_sample(path) is None
    path.write_text('{"event": "sample", "idle": true}\n' * 1000 + '{"event": "sample", "idle": false}\n{"event": "sa')
    assert records.last_sample(path) == {"event": "sample", "idle": False}


def test_the_load_is_that_of_the_boards_own_cores(tmp_path):
    stat = tmp_path / "stat"
    stat.write_text("cpu 9 9 9 9 9\ncpu0 100 0 0 0 0 0 0 0\ncpu1 10 0 10 70 10 0 0 0\n")
    before = telemetry._cpu_times(stat, [1])
    stat.write_text("cpu 9 9 9 9 9\ncpu0 900 0 0 0 0 0 0 0\ncpu1 40 0 20 120 20 0 0 0\n")
    assert telemetry._load(before, telemetry._cpu_times(stat, [1])) == pytest.approx(0.4)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_that_cannot_be_written_ends_the_samples_and_nothing_else(tmp_path):
    (tmp_path / layout.TELEMETRY).mkdir()
    Telemetry(tmp_path, "lo").stop()
