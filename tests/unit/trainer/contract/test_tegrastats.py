"""Lines as tegrastats prints them, from JetPack 4 to 6."""

import pytest

from tests import PROJECT
from trainer.contract.tegrastats import Reading, hottest_c, parse, summed_rails

CASES = (PROJECT / "tests/data/tegrastats_orin.txt").read_text().splitlines()
AGX_ORIN = ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"]
AGX_XAVIER = ["GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"]

ORIN = (
    "10-16-2023 10:59:22 RAM 1205/30623MB (lfb 6429x4MB) SWAP 0/15311MB (cached 0MB) CPU [10%@729,30%@729,off,off] "
    "EMC_FREQ 0%@204 GR3D_FREQ 7%@114 GR3D2_FREQ 0%@114 NVJPG1 729 VIC_FREQ 729 APE 233 CV0@-256C CPU@43.5C "
    "Tdiode@32.5C GPU@38.156C VDD_GPU_SOC 4788mW/4700mW VDD_CPU_CV 798mW/798mW VIN_SYS_5V0 3842mW/3842mW NC 0mW/0mW "
    "VDDQ_VDD2_1V8AO 707mW/707mW NC 0mW/0mW"
)
LINES = {
    "AGX Orin, JetPack 5": (
        ORIN,
        1205 * 2**20,
        0.2,
        0.07,
        {"CPU": 43.5, "Tdiode": 32.5, "GPU": 38.156},
        {"VDD_GPU_SOC": 4788, "VDD_CPU_CV": 798, "VIN_SYS_5V0": 3842, "VDDQ_VDD2_1V8AO": 707},
    ),
    "Orin Nano, JetPack 6": (
        "05-13-2024 15:41:46 RAM 3107/7620MB (lfb 3x4MB) SWAP 0/3810MB (cached 0MB) CPU [0%@1510,4%@1510,2%@1510,2%@729"
        ",off,off] GR3D_FREQ 99%@[624,624] cpu@47.468C soc2@43.781C soc0@45C gpu@45.5C tj@47.468C soc1@44.5C "
        "VDD_IN 4979mW/4971mW VDD_CPU_GPU_CV 521mW/520mW VDD_SOC 1513mW/1511mW",
        3107 * 2**20,
        0.02,
        0.99,
        {"cpu": 47.468, "soc2": 43.781, "soc0": 45.0, "gpu": 45.5, "tj": 47.468, "soc1": 44.5},
        {"VDD_IN": 4979, "VDD_CPU_GPU_CV": 521, "VDD_SOC": 1513},
    ),
    "Xavier NX, JetPack 4": (
        "RAM 2366/7765MB (lfb 18x4MB) SWAP 4/3882MB (cached 0MB) CPU [9%@1190,7%@1190,off,off,off,off] EMC_FREQ 0% "
        "GR3D_FREQ 12% AO@40.5C GPU@41C PMIC@100C AUX@40.5C CPU@42C thermal@41.2C VDD_IN 3230/3230 "
        "VDD_CPU_GPU_CV 480/460 VDD_SOC 1040/1040",
        2366 * 2**20,
        0.08,
        0.12,
        {"AO": 40.5, "GPU": 41.0, "PMIC": 100.0, "AUX": 40.5, "CPU": 42.0, "thermal": 41.2},
        {"VDD_IN": 3230, "VDD_CPU_GPU_CV": 480, "VDD_SOC": 1040},
    ),
    "Nano, JetPack 4": (
        "RAM 1340/3956MB (lfb 104x4MB) IRAM 0/252kB(lfb 252kB) CPU [15%@102,8%@102,9%@102,8%@102] EMC_FREQ 6%@204 "
        "GR3D_FREQ 0%@76 APE 25 PLL@32.5C CPU@35C PMIC@100C GPU@33C AO@40C thermal@34C POM_5V_IN 1523/1523 "
        "POM_5V_GPU 0/0 POM_5V_CPU 201/201",
        1340 * 2**20,
        0.1,
        0.0,
        {"PLL": 32.5, "CPU": 35.0, "PMIC": 100.0, "GPU": 33.0, "AO": 40.0, "thermal": 34.0},
        {"POM_5V_IN": 1523, "POM_5V_GPU": 0, "POM_5V_CPU": 201},
    ),
    "Xavier AGX, a list of GPU clocks": (
        "RAM 1205/30623MB (lfb 6429x4MB) CPU [1%,3%@729,off] GR3D_FREQ 5%@[114,114] GPU@-256C SOC 1200/1100",
        1205 * 2**20,
        0.02,
        0.05,
        {},
        {"SOC": 1200},
    ),
}


@pytest.mark.parametrize("line, memory, cpu, gpu, temperatures, rails", LINES.values(), ids=LINES.keys())
def test_every_field_of_a_line_is_read(line, memory, cpu, gpu, temperatures, rails):
    reading = parse(line + "\n")
    assert reading.memory_bytes == memory
    assert reading.cpu_load == pytest.approx(cpu) and reading.gpu_load == pytest.approx(gpu)
    assert reading.temperature_c == temperatures
    assert reading.power_mw == rails


def test_a_line_that_is_cut_anywhere_has_nothing_wrong():
    whole = parse(ORIN)
    for end in range(len(ORIN)):
        cut = parse(ORIN[:end])
        assert cut.memory_bytes in (None, whole.memory_bytes)
        assert cut.cpu_load in (None, whole.cpu_load) and cut.gpu_load in (None, whole.gpu_load)
        assert cut.temperature_c.items() <= whole.temperature_c.items()
        assert cut.power_mw.items() <= whole.power_mw.items()
    assert parse(ORIN[:-25]).temperature_c == whole.temperature_c


@pytest.mark.parametrize(
    "line, rails, milliwatts",
    [(CASES[0], sorted(AGX_ORIN), 22_430), (CASES[1], ["VDD_IN"], 7_256), (CASES[2], ["VIN"], 124_486)],
    ids=["AGX Orin", "Orin Nano", "Thor"],
)
def test_no_part_of_a_modules_power_is_counted_twice(line, rails, milliwatts):
    power = parse(line).power_mw
    assert summed_rails(power) == rails
    assert sum(power[rail] for rail in rails) == milliwatts


@pytest.mark.parametrize(
    "rails, summed",
    [
        ([*AGX_ORIN, "VDDQ_VDD2_1V8AO"], AGX_ORIN),
        ([*AGX_ORIN, "VDDQ_VDD2_1V8AO", "CARRIER_12V"], AGX_ORIN),  # what a carrier board adds may be the input
        (AGX_XAVIER, AGX_XAVIER),
        ([*AGX_XAVIER, "CARRIER_12V"], AGX_XAVIER),
        (["VDD_IN", *AGX_ORIN], ["VDD_IN"]),
        (["VDD_SYS_GPU", "VDD_4V0_WIFI", "VDD_IN", "VDD_SYS_DDR"], ["VDD_IN"]),  # TX2
        (["VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0", "VIN"], ["VIN"]),  # Thor
        (["VDDQ_VDD2_1V8AO", "VDD_CPU_CV"], ["VDDQ_VDD2_1V8AO", "VDD_CPU_CV"]),  # what feeds it is not measured
        (["ONE", "OTHER"], ["ONE", "OTHER"]),
        ([], []),
    ],
)
def test_the_rails_of_a_module_are_known_by_name(rails, summed):
    assert summed_rails(rails) == sorted(summed)
    assert summed_rails(set(rails)) == sorted(summed)


@pytest.mark.parametrize(
    "words, rails",
    [
        ("VIN 1234mW/1200mW", {"VIN": 1234}),
        ("VIN 1234/1200", {"VIN": 1234}),
        ("VIN 1234mW/1200mW/1300mW", {"VIN": 1234}),
        ("VDD_GPU -392mW/-390mW VIN 23000mW/23000mW", {"VDD_GPU": -392, "VIN": 23000}),  # of an idle Thor
        ("NC 0mW/0mW VDD_4V0_WIFI 0/0", {"VDD_4V0_WIFI": 0}),
        ("VIN 1234mW", {}),
    ],
)
def test_a_rail_is_read_however_it_is_printed(words, rails):
    assert parse(f"RAM 1/2MB {words}").power_mw == rails
    assert parse(f"{words} GR3D_FREQ 0%").power_mw == rails


@pytest.mark.parametrize(
    "line, celsius",
    [
        ("CPU@42C PMIC@100C", 42.0),
        ("CPU@42.5C PMIC-Die@100C", 42.5),
        ("CPU@42C PMIC-Die@120C", 120.0),  # the first of its alarms
        ("CPU@100C PMIC@100C", 100.0),
        ("CPU@-256C GPU@-256C", None),
        ("PMIC@100C", None),
        ("tj@66.625C/66.625C gpu@-5C", 66.625),
    ],
)
def test_what_is_always_100_c_is_no_heat(line, celsius):
    assert hottest_c(parse(line).temperature_c) == celsius


def test_a_sample_from_before_has_no_sensor_that_is_off():
    assert hottest_c({"cv0-thermal": -256.0, "cpu-thermal": 40.0}) == 40.0
    assert hottest_c({"cv0-thermal": -256.0}) is None


@pytest.mark.parametrize("line", ["", "tegrastats: not found", "RAM many"])
def test_what_is_no_line_is_an_empty_reading(line):
    reading = parse(line)
    assert (reading.memory_bytes, reading.cpu_load, reading.gpu_load) == (None, None, None)
    assert reading.temperature_c == {} and reading.power_mw == {}


@pytest.mark.parametrize(
    "line",
    [
        "RAM " + "9" * 5000 + "/30536MB",
        "CPU [-2025 08:49:48 CPU [90%@2201]",
        "CPU [" + "9" * 400 + "%@2201,x%@1,\u0661%@1]",
        "GR3D_FREQ " + "9" * 5000 + "%",
        "tj@" + "9" * 400 + "C",
        "VDD_IN " + "9" * 5000 + "mW/1mW",
        "VDD_IN \u0661mW/\u0661mW",
    ],
)
def test_a_number_that_no_board_has_is_none(line):
    assert parse(line) == Reading(None, None, None, {}, {})
