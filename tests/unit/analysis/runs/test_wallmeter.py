"""A wall meter's file is read however meters write it, or refused with the lines, the reason and the remedy."""

import gzip
import json
import os
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from analysis import write_manifest
from analysis.runs.wallmeter import readings
from controller.cli import main
from tests import PROJECT
from tests.data.build_runs import build_run
from trainer.contract.config import ConfigError
from trainer.contract.events import Resume
from trainer.contract.records import EventLog

SAMPLES = PROJECT / "tests/data/wall_meter"  # with the run that they are about
START, END = 1795287297.5, 1795287438.25  # of its training
JOULES = 80 * (END - START)
SECONDS = range(1795287270, 1795287511, 10)
SPAN = "2026-11-21 18:54:57 UTC to 2026-11-21 18:57:18 UTC"


@pytest.fixture
def run(tmp_path):
    (folder,) = (path for path in SAMPLES.iterdir() if path.is_dir())
    return Path(shutil.copytree(folder, tmp_path / folder.name))


def energy(run, meter, capsys):
    """What the command says of a file, and the energy that it keeps."""
    before = (run / "manifest.json").read_bytes()
    code = main(["energy", str(run), "--wall-meter", str(meter)])
    out, err = capsys.readouterr()
    if code:
        assert code == 2 and (run / "manifest.json").read_bytes() == before and out == ""
        return err, None
    return out, json.loads((run / "manifest.json").read_text())["cost"]["wall_energy_j"]


OUTCOMES = {
    "comment_first": None,
    "iso_fraction_mixed": None,
    "semicolon_comma": None,
    "space_after_comma": None,
    "unix_ms": None,
    "utf16": None,
    "one_empty_cell": ["line 11: power_w is empty", "delete lines without one"],
    "inf_cell": ["line 11: power_w is 'inf', which is not a number of watts"],
    "kw_units_negative": ["line 2: power_w is '-80', which is below 0", "and 20 more", "multiply kW by 1000"],
    "local_naive": [
        "times without an offset from UTC, 2026-11-21 19:54:30 (line 2) to 2026-11-21 19:58:30 (line 26)",
        f"the run trained from {SPAN}",
        "write the offset of the meter's clock at each time, such as 2026-11-21 19:54:30+01:00",
    ],
}


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.csv")), ids=lambda path: path.stem)
def test_the_samples_are_read_or_refused_as_is_wanted(run, sample, capsys):
    said, joules = energy(run, sample, capsys)
    wanted = OUTCOMES[sample.stem]
    if wanted is None:
        assert joules == pytest.approx(JOULES, rel=1e-3) and said == "At the wall: 11.3 kJ.\n"
    else:
        assert joules is None and str(sample) in said
        assert [part for part in wanted if part not in said] == []


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "meter.csv"
    path.write_bytes(text.encode(encoding))
    return path


def table(time, header="time,power_w", line="{},80.0", end="\n"):
    return header + end + "".join(line.format(time(second)) + end for second in SECONDS)


def iso(second, form="%Y-%m-%dT%H:%M:%S", offset_h=1.0):
    return datetime.fromtimestamp(second, timezone(timedelta(hours=offset_h))).strftime(form)


@pytest.mark.parametrize(
    "text",
    [
        table(lambda s: iso(s) + "+01:00"),
        table(lambda s: iso(s) + "+0100"),
        table(lambda s: iso(s) + "+01"),
        table(lambda s: iso(s, "%Y-%m-%d %H:%M:%S +0100")),
        table(lambda s: iso(s, "%Y%m%dT%H%M%S", 0) + "Z"),
        table(lambda s: iso(s, "%Y%m%dT%H%M%S") + "+0100"),
        table(lambda s: iso(s, "%Y-%m-%d %H:%M:%SZ", 0)),
        table(lambda s: iso(s, "%Y-%m-%d %H:%M:%S UTC", 0)),
        table(lambda s: iso(s, "%Y-%m-%dt%H:%M:%Sz", 0)),
        table(lambda s: iso(s, "%Y-%m-%dT%H:%M:%S", -3.5) + "\N{MINUS SIGN}03:30"),
        table(lambda s: iso(s, "%Y-%m-%dT%H:%M:%S.123456789Z", 0) if s % 20 else iso(s, offset_h=0) + "Z"),
        table(lambda s: iso(s, "%Y-%m-%dT%H:%M:%S,25Z", 0), "time;power_w", "{};80,0"),
        table(lambda s: iso(s) + "+01:00" if s % 20 else s),
        table(lambda s: s + 0.25),
        table(lambda s: f"{s},25", "time;power_w", "{};80,0"),
        table(lambda s: s * 10**3, "TIME;Power_W", "{};80"),
        table(lambda s: s * 10**6),
        table(lambda s: s * 10**9),
        table(str, "time\tpower_w", "{}\t80,0"),
        table(str, " time ; power_w ", " {} ; 80,0 "),
        table(str, '"time","power_w"', '"{}","80.0"'),
        table(str, '"time", "power_w"', '"{}", "8.0e1"'),
        table(str, "sep=;\ntime;power_w", "{};80"),
        table(str, "voltage,power_w,time,note", "231.2,80,{},ok"),
        table(str, "time,power_w,", "{},80,"),
        table(str, "time,power_w,note,", '{},80,"1,5 A, Küche",,'),
        table(str, "Shelly Plug S;192.0.2.7\nexported today\n\n# nobody\ntime;power_w", "{};80"),
        table(str, end="\r\n"),
        table(str, end="\r"),
        table(str, end="\n\n"),
        table(str) + "# the end\n,\n  \n",
        table(str) + "\ufeff" + table(str),
        table(str).rstrip("\n"),
        "time,power_w\n" + "".join(f"{second},80\n" for second in reversed(SECONDS)),
        "time,power_w\n" + "".join(f"{second},70\n{second},90\n" for second in SECONDS),
        table(str).replace(f"{SECONDS[9]},80.0", f'{SECONDS[9]},"80.0'),
    ],
)
def test_it_is_read_however_it_is_written(tmp_path, run, text, capsys):
    said, joules = energy(run, written(tmp_path, text), capsys)
    assert joules == pytest.approx(JOULES, rel=1e-3), said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "\ufeff be"])
def test_it_is_read_in_any_encoding(tmp_path, run, encoding, capsys):
    text = "# Wohnküche\n" + table(str, "time,power_w,note", "{},80.0,Küche")
    text, encoding = (f"\ufeff{text}", "utf-16-be") if encoding == "\ufeff be" else (text, encoding)
    said, joules = energy(run, written(tmp_path, text, encoding), capsys)
    assert joules == pytest.approx(JOULES, rel=1e-3), said


def test_power_is_taken_to_change_steadily_between_readings_in_any_order():
    path = SAMPLES / "unix_ms.csv"
    times, watts = readings(path, START, END)
    assert (times[0], times[-1]) == (1795287290, 1795287440), "those around the run, and no others"
    assert set(watts) == {80.0}


def changed(cells):
    """The file with other cells in some of its lines."""
    lines = table(str).splitlines()
    for number, cell in cells.items():
        lines[number - 1] = f"{lines[number - 1].partition(',')[0]},{cell}"
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "cell, why",
    [
        ("", "power_w is empty"),
        ("  ", "power_w is empty"),
        ("-inf", "'-inf', which is not a number of watts"),
        ("NaN", "'NaN', which is not a number of watts"),
        ("1e999", "'1e999', which is too large"),
        ("-0.08", "'-0.08', which is below 0"),
        ("unavailable", "'unavailable', which is not a number of watts"),
        ("80 W", "'80 W', which is not a number of watts"),
        ("1_000", "'1_000', which is not a number of watts"),
        ("0x50", "'0x50', which is not a number of watts"),
        ('"1,234"', "'1,234', which is not a number of watts"),
        ("80,5", "has 3 cells for 2 named columns (separate cells with ;"),
        ("x" * 10**6, "xxxxxxxxx...'"),
    ],
)
def test_a_reading_that_is_none_is_refused_by_its_line(tmp_path, run, cell, why, capsys):
    said, _ = energy(run, written(tmp_path, changed({7: cell})), capsys)
    (line,) = (line for line in said.splitlines() if "  line" in line)
    assert line.startswith("  line 7: ") and why in line and len(line) < 130
    assert "Each line needs a time and the power in watts" in said


@pytest.mark.parametrize(
    "time",
    [
        "",
        "12.5",
        "yesterday",
        "21.11.2026 18:55:00",
        "20261121",
        "20261121185500",
        "1.79529E+09",
        "-1795287270",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-11-21T25:00:00Z",
    ],
)
def test_a_time_that_is_none_is_refused_by_its_line(tmp_path, run, time, capsys):
    text = table(str).replace(str(SECONDS[4]), time)
    said, _ = energy(run, written(tmp_path, text), capsys)
    assert f"  line 6: time is {time!r}, which is neither Unix time" in said or "  line 6: time is empty" in said


def test_lines_are_those_of_the_file_and_the_first_of_them_are_told(tmp_path, run, capsys):
    text = "# one\n\n" + changed({number: "" for number in range(3, 20)})
    said, _ = energy(run, written(tmp_path, text), capsys)
    told = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    assert told == [*(f"line {number}: power_w is empty" for number in (5, 6, 7, 8, 9)), "and 12 more"]


def test_all_that_is_wrong_is_told_at_once(tmp_path, run, capsys):
    text = "time;power_w\n2026-11-21 19:54:30;80,5\n2026-11-21 19:58:30;80.5\nnever;80\n1795287270;-1\n"
    said, _ = energy(run, written(tmp_path, text), capsys)
    for part in (
        "a decimal comma and with a decimal point",
        "line 4: time",
        "line 5: power_w",
        "without an offset",
    ):
        assert part in said, part


@pytest.mark.parametrize(
    "first, last",
    [(START - 3700, END - 3500), (START + 10, END + 60), (START - 60, END - 10), (START + 20, END - 20), (0, 600)],
    ids=["an hour before", "begins late", "ends early", "within", "a clock that was never set"],
)
def test_what_does_not_cover_the_run_is_refused_with_both_intervals(tmp_path, run, first, last, capsys):
    rows = "".join(f"{iso(first + second, offset_h=0)}Z,80\n" for second in range(0, int(last - first) + 1, 10))
    said, _ = energy(run, written(tmp_path, "time,power_w\n" + rows), capsys)
    assert f"{iso(first, '%Y-%m-%d %H:%M:%S UTC', 0)} to " in said and SPAN in said
    assert "which do not cover the run's training" in said


def test_a_gap_in_the_run_is_refused_and_one_beside_it_is_not(tmp_path, run, capsys):
    def without(first, last):
        rows = (f"{second},80\n" for second in range(SECONDS[0] - 600, SECONDS[-1], 10) if not first < second < last)
        return energy(run, written(tmp_path, "time,power_w\n" + "".join(rows)), capsys)

    said, _ = without(SECONDS[6], SECONDS[14])
    assert "has no reading from 2026-11-21 18:55:30 UTC to 2026-11-21 18:56:50 UTC" in said and SPAN in said
    assert "longer than 75 s" in said
    assert without(SECONDS[6], SECONDS[13])[1] == pytest.approx(JOULES, rel=1e-3)
    assert without(SECONDS[0] - 500, SECONDS[0])[1] == pytest.approx(JOULES, rel=1e-3)


def test_a_long_run_needs_no_reading_each_minute(tmp_path):
    rows = "".join(f"{1_800_000_000 + second},80\n" for second in range(0, 36_001, 900))
    times, _ = readings(written(tmp_path, "time,power_w\n" + rows), 1_800_000_100, 1_800_035_000)
    assert len(times) == 40


@pytest.mark.parametrize("watts", ["0.080", "0"])
def test_powers_below_what_a_board_takes_are_refused(tmp_path, run, watts, capsys):
    said, _ = energy(run, written(tmp_path, table(str, line=f"{{}},{watts}")), capsys)
    assert f"has at most {float(watts):g} W during the run's training" in said and "multiply kW by 1000" in said


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "it is empty"),
        (b"\n\n# nothing\n", "it is empty"),
        (b"time,power_w\n", "it has no line below the columns' names"),
        (b"time,power_w\n1795287300,80\n", "which do not cover the run's training"),
        (
            b"time,watts\n1795287300,80\n",
            "it begins with 'time,watts'; give CSV with the columns time and power_w",
        ),
        (b"1795287300,80\n", "it begins with '1795287300,80'; give CSV"),
        (b"time,power_w,power_w\n1,2,3\n", "line 1 has more than one column power_w"),
        (b"Time,TIME,power_w\n1,2,3\n", "line 1 has more than one column time"),
        (bytes(range(256)) * 40, "it is not text"),
        (gzip.compress(b"time,power_w\n" * 1000, mtime=0), "it is not text"),
        (b"when,\x1b[2Jwatts\n", "it is not text"),
        (b"PK\x03\x04\x14\x00\x08\x00", "it is not text"),
        (b"\xff\xfe", "it is empty"),
        (table(str).encode("utf-16-le"), "it is not text"),
        (b"\xff" * 10**6, "it begins with"),
        (b'"' * 10**6, "it begins with"),
    ],
)
def test_what_is_no_such_file_is_refused_in_a_sentence(tmp_path, run, content, why, capsys):
    path = tmp_path / "meter.csv"
    path.write_bytes(content)
    said, _ = energy(run, path, capsys)
    assert why in said and str(path) in said
    assert len(said) < 600


def test_what_is_no_file_is_refused_in_a_sentence(tmp_path, run, capsys, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    assert "it does not exist" in energy(run, tmp_path / "nowhere.csv", capsys)[0]
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        assert f"{path} cannot be read as a wall meter's file: it is not a file" in energy(run, path, capsys)[0]
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(10**12)
    assert "it is larger than 30 MB: keep only the run's time" in energy(run, tmp_path / "huge.csv", capsys)[0]


class TestARunOfWhichNobodyKnowsWhenItTrained:
    def refused(self, folder, capsys, *given):
        assert main(["energy", str(folder), *map(str, given)]) == 2
        return capsys.readouterr().err

    @pytest.mark.parametrize("given", [("--switch-watts", 12.5), ("--wall-meter", SAMPLES / "unix_ms.csv")], ids=str)
    def test_it_is_told_why(self, tmp_path, capsys, given):
        folder = build_run(tmp_path, "plain")
        assert (
            "plain's training is unknown, so no switch or wall meter can be added: the clock of board-1 was "
            "not measured" in self.refused(folder, capsys, *given)
        )
        folder = build_run(tmp_path, "resumed", ahead_s={})
        log = EventLog(folder / "boards/board-1/events.jsonl")
        log.write(Resume(epoch=1, startup_s=3.0))
        log.close()
        assert "board-1 was resumed, and the time between" in self.refused(folder, capsys, *given)
        folder = build_run(tmp_path, "empty", ahead_s={})
        (folder / "boards/board-1/events.jsonl").unlink()
        assert "board-1 ended no epoch" in self.refused(folder, capsys, *given)

    def test_a_board_that_knows_is_enough(self, tmp_path):
        folder = build_run(tmp_path, workers=2, ahead_s={})
        (folder / "boards/board-1/clock.json").unlink()
        assert main(["energy", str(folder), "--switch-watts", "12.5"]) == 0
        assert json.loads((folder / "manifest.json").read_text())["cost"]["switch_energy_j"] > 0

    def test_the_collect_stage_goes_on_without(self, tmp_path):
        assert write_manifest(build_run(tmp_path), switch_w=12.5)["cost"]["switch_energy_j"] is None


@pytest.mark.parametrize("watts", ["nan", "-3", "inf", "12,5", "12W", "1e400", ""])
@pytest.mark.parametrize("command", ["energy", "manifest"])
def test_a_power_of_the_switch_that_is_none_is_refused(tmp_path, capsys, command, watts):
    with pytest.raises(SystemExit):
        main([command, str(tmp_path), f"--switch-watts={watts}"])
    assert f"{watts!r} is not a valid amount: give a number, 0 or more, such as 12.5" in capsys.readouterr().err


def test_a_clock_of_a_board_that_is_far_off_is_told_and_no_crash(tmp_path):
    path = written(tmp_path, table(str))
    with pytest.raises(ConfigError, match=r"which do not cover the run's training, from 1e\+300 s"):
        readings(path, 1e300, 2e300)
