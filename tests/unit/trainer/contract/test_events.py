"""Records: written whole, read as far as they are sound."""

import json
import math

import pytest

from trainer.contract.events import End, Probe, Window
from trainer.contract.layout import write_json
from trainer.contract.records import EventLog, read_records

END = End(epochs=1, train_s=2.0, total_s=3.0)


def log_of(tmp_path, *records):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for record in records:
        log.write(record)
    log.close()
    return path


def test_what_is_written_is_read(tmp_path):
    records, bad = read_records(log_of(tmp_path, Probe([1.0], [], [], 4), END))
    assert bad == []
    assert [record["event"] for record in records] == ["probe", "end"]
    assert records[0]["step_s"] == [1.0] and records[1]["total_s"] == 3.0
    assert all(record["time_s"] > 1.7e9 for record in records)


def test_a_record_is_on_disk_before_the_next_begins(tmp_path):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write(END)
    assert json.loads(path.read_text())["event"] == "end"
    log.close()


def test_a_torn_line_loses_only_itself(tmp_path):
    path = log_of(tmp_path, END, END)
    path.write_text(path.read_text() + '{"event": "end", "epo')
    records, bad = read_records(path)
    assert len(records) == 2
    assert len(bad) == 1 and "line 3" in bad[0]


def test_unknown_records_and_missing_fields_are_told(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "party", "time_s": 1}\n{"event": "end", "time_s": 1, "epochs": 1}\n[]\n')
    records, bad = read_records(path)
    assert records == [] and len(bad) == 3
    assert "lacks total_s, train_s" in bad[1] and "not a record of start, resume, window" in bad[0]


def test_a_sample_from_before_a_field_came_is_a_sample(tmp_path):
    old = {"idle": False, "memory_bytes": 1, "cpu_load": None, "gpu_load": None, "temperature_c": {}, "power_mw": {}}
    path = tmp_path / "telemetry.jsonl"
    path.write_text(json.dumps({"event": "sample", "time_s": 1.0, **old, "sent_bytes": 1, "received_bytes": 1}) + "\n")
    records, bad = read_records(path)
    assert bad == [] and len(records) == 1


def test_a_loss_that_is_no_number_is_still_a_record(tmp_path):
    window = Window(1, 0, 1, 64, 1.0, math.nan, 0.0, 0.1, 1.0, 0.0, None, 0.0, None, None, 0)
    records, bad = read_records(log_of(tmp_path, window))
    assert bad == [] and math.isnan(records[0]["loss"]) and records[0]["sent_bytes"] is None


def test_a_json_file_is_replaced_whole(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 2}
    assert [item.name for item in tmp_path.iterdir()] == ["result.json"]


def test_a_full_disk_tears_no_line(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write(END)

    class Full:
        """A file that takes ten bytes more, then refuses."""

        def __init__(self, file):
            self.file, self.room = file, 10

        def write(self, content):
            if not self.room:
                raise OSError(28, "No space left on device")
            part, self.room = content[: self.room], 0
            return self.file.write(part)

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(log, "_file", Full(log._file))
    with pytest.raises(OSError):
        log.write(END)
    log.close()
    records, bad = read_records(path)
    assert len(records) == 1 and bad == []


@pytest.mark.parametrize("time_s", [math.nan, math.inf, 1e300, -1.0, "12:00", None])
def test_a_record_of_no_known_time_is_passed_over_and_told(tmp_path, time_s):
    path = log_of(tmp_path, END)
    path.write_text(json.dumps({**json.loads(path.read_text()), "time_s": time_s}) + "\n")
    records, bad = read_records(path)
    assert records == [] and bad[0].endswith("line 1: time_s is not a time")
