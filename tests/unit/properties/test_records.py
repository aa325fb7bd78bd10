"""Any records: what is written is read, and what is torn or odd loses only itself."""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Union, get_args, get_origin, get_type_hints

from hypothesis import given
from hypothesis import strategies as st

from analysis.runs.eventlog import read_but_windows
from trainer.contract.events import Epoch, Sample, Window
from trainer.contract.reading import MAX_NUMBER
from trainer.contract.records import EventLog, last_sample, read_records

NUMBERS = {
    int: st.integers(1 - MAX_NUMBER, MAX_NUMBER - 1),
    float: st.floats(-MAX_NUMBER, MAX_NUMBER, exclude_min=True, exclude_max=True),
}


def values(hint: object) -> st.SearchStrategy:
    """Values of a field's type that are measurements."""
    if get_origin(hint) is Union:
        return st.none() | values(get_args(hint)[0])
    if get_origin(hint) is dict:
        return st.dictionaries(st.text(max_size=5), values(get_args(hint)[1]), max_size=3)
    return NUMBERS.get(hint, st.from_type(hint))


def of_kind(kind: type) -> st.SearchStrategy:
    hints = get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in (item.name for item in dataclasses.fields(kind))})


KINDS = st.sampled_from([Window, Epoch, Sample]).flatmap(of_kind)


def written(folder: str, records: list) -> Path:
    log = EventLog(Path(folder) / "events.jsonl")
    for record in records:
        log.write(record)
    log.close()
    return log_path(folder)


def log_path(folder: str) -> Path:
    return Path(folder) / "events.jsonl"


def as_json(value: object) -> str:
    """Tuples are lists, and one NaN is as another."""
    return json.dumps(value)


@given(st.lists(KINDS, max_size=4))
def test_what_is_written_is_read(records):
    with tempfile.TemporaryDirectory() as folder:
        found, bad = read_records(written(folder, records))
    assert bad == []
    assert [record["event"] for record in found] == [record.KIND for record in records]
    for record, read in zip(records, found, strict=True):
        assert {name: as_json(read[name]) for name in vars(record)} == {n: as_json(v) for n, v in vars(record).items()}


@given(st.lists(KINDS, min_size=1, max_size=4), st.floats(0, 1))
def test_a_torn_file_has_all_records_before_the_tear(records, share):
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, records)
        content = path.read_bytes()
        cut = round(share * len(content))  # the time in the records makes them longer or shorter
        path.write_bytes(content[:cut])
        found, bad = read_records(path)
    whole = content[:cut].count(b"\n")
    # a line that only lacks its end is whole, too
    assert whole <= len(found) <= whole + 1
    assert len(found) + len(bad) == len(content[:cut].splitlines())


@given(st.lists(KINDS, min_size=1, max_size=3), st.binary(max_size=40))
def test_any_bytes_between_records_lose_only_themselves(records, noise):
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, records)
        content = path.read_bytes()
        path.write_bytes(content + noise + b"\n" + content)
        found, bad = read_records(path)
        but_windows, _ = read_but_windows(path)
        last_sample(path)
    assert len(found) == 2 * len(records)
    assert [record for record in found if record["event"] != Window.KIND] == but_windows
    assert all("line" in problem for problem in bad)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda it: st.lists(it) | st.dictionaries(st.sampled_from(["event", "time_s", "epoch"]), it),
        max_leaves=6,
    )
)
def test_any_json_is_a_record_or_told(value):
    with tempfile.TemporaryDirectory() as folder:
        log_path(folder).write_text(json.dumps(value) + "\n")
        found, bad = read_records(log_path(folder))
    assert len(found) + len(bad) == 1
