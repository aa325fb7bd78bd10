"""Power of boards without tegrastats."""

import time

import pytest

from trainer.supervise.power import Rails


def write(root, files):
    for name, content in files.items():
        path = root / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")


def zone(number, name, energy_uj):
    folder = f"powercap/intel-rapl:{number}"
    return {f"{folder}/name": name, f"{folder}/energy_uj": energy_uj, f"{folder}/max_energy_range_uj": 262_143_328_850}


def test_counters_give_the_mean_power_since_the_last_look_and_parts_are_left_out(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    write(tmp_path, {**zone("0", "package-0", 1_000_000), **zone("0:0", "core", 500_000), **zone("0:1", "dram", 0)})
    rails = Rails(tmp_path, emulated=False)
    now[0] += 2.0
    write(
        tmp_path, {**zone("0", "package-0", 31_000_000), **zone("0:0", "core", 9e6), **zone("0:1", "dram", 4_000_000)}
    )
    assert rails.look() == {"package-0": 15000, "dram-0": 2000}
    assert rails.look() == {}  # no time has passed
    now[0] += 1.0
    write(tmp_path, zone("0", "package-0", 5_000_000) | zone("0:1", "dram", 4_000_000))
    found = rails.look()  # the counter began again
    assert (
        found["package-0"] == pytest.approx((262_143_328_850 - 31_000_000 + 5_000_000) / 1000) and found["dram-0"] == 0
    )


def test_without_counters_sensors_are_read(tmp_path):
    write(tmp_path, {"hwmon/hwmon2/name": "ina226", "hwmon/hwmon2/power1_input": 7_250_000})
    write(tmp_path, {"hwmon/hwmon3/name": "acpi", "hwmon/hwmon3/power1_average": 30_000_000})
    write(tmp_path, {"hwmon/hwmon3/power1_label": "meter"})
    assert Rails(tmp_path, emulated=False).look() == {"ina226 power1": 7250, "acpi meter": 30000}


def test_what_cannot_be_read_and_what_is_another_machines_is_nothing(tmp_path):
    assert Rails(tmp_path, emulated=False).look() == {}
    write(tmp_path, {"hwmon/hwmon2/name": "ina226", "hwmon/hwmon2/power1_input": 7_250_000})
    assert Rails(tmp_path, emulated=True).look() == {}
