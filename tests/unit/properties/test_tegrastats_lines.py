"""Any line of tegrastats, whole, cut off or of something else."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.contract.tegrastats import Reading, hottest_c, parse, summed_rails

NOTHING = Reading(None, None, None, {}, {})
LOADS = st.lists(st.integers(0, 100), min_size=1, max_size=12)
SENSORS = st.dictionaries(st.sampled_from(["cpu", "gpu", "tj", "soc0", "PMIC-Die"]), st.integers(-20, 110), max_size=5)
RAILS = st.dictionaries(
    st.sampled_from(["VDD_IN", "VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]),
    st.integers(-100, 60_000),
    max_size=5,
)


def line(used: int, loads: list[int], gpu: int, sensors: dict[str, int], rails: dict[str, int]) -> str:
    """As JetPack 5 prints it."""
    cores = ",".join(f"{load}%@2201" for load in loads)
    heat = "".join(f" {name}@{celsius}C" for name, celsius in sensors.items())
    power = "".join(f" {name} {now}mW/{now + 7}mW" for name, now in rails.items())
    return (
        f"03-21-2023 10:00:00 RAM {used}/30536MB (lfb 4x4MB) SWAP 0/15268MB (cached 0MB) CPU [{cores},off] "
        f"EMC_FREQ 0% GR3D_FREQ {gpu}%{heat}{power}"
    )


LINES = (st.integers(0, 30_536), LOADS, st.integers(0, 100), SENSORS, RAILS)


@given(*LINES)
def test_what_a_line_says_is_read(used, loads, gpu, sensors, rails):
    found = parse(line(used, loads, gpu, sensors, rails))
    assert found.memory_bytes == used * 2**20
    assert abs(found.cpu_load - sum(loads) / len(loads) / 100) < 1e-9
    assert found.gpu_load == gpu / 100
    assert found.temperature_c == sensors
    assert found.power_mw == rails


@given(*LINES, st.data())
def test_a_line_that_is_cut_off_says_nothing_that_the_whole_one_does_not(used, loads, gpu, sensors, rails, data):
    whole = line(used, loads, gpu, sensors, rails)
    found = parse(whole[: data.draw(st.integers(0, len(whole)))])
    assert found.memory_bytes in (None, used * 2**20)
    assert found.temperature_c.items() <= sensors.items()
    assert set(found.power_mw) <= set(rails)


@given(st.text(max_size=200))
def test_any_text_is_a_reading(text):
    assert isinstance(parse(text), Reading)


@given(st.text("abc xyz/%@", max_size=50))
def test_text_of_something_else_is_an_empty_reading(text):
    assert parse(text) == NOTHING


@given(RAILS)
def test_no_power_is_counted_twice(rails):
    summed = summed_rails(rails)
    assert set(summed) <= set(rails) and len(set(summed)) == len(summed)
    assert bool(summed) == bool(rails)
    if "VDD_IN" in rails:
        assert summed == ["VDD_IN"]
    assert not {"VDDQ_VDD2_1V8AO", "VIN_SYS_5V0"} <= set(summed)


@given(SENSORS)
def test_the_hottest_sensor_is_one_that_measures_heat(sensors):
    measured = {name: celsius for name, celsius in sensors.items() if (name, celsius) != ("PMIC-Die", 100)}
    assert hottest_c(sensors) == max(measured.values(), default=None)
