"""The governor of a plain Linux board's CPUs."""

import json

import pytest

from plugins.modules import cpu_governor as module
from plugins.modules.cpu_governor import change


@pytest.fixture
def cpufreq(tmp_path):
    for number, governor in enumerate(("ondemand", "schedutil")):
        policy = tmp_path / f"sys/policy{number}"
        policy.mkdir(parents=True)
        (policy / "scaling_governor").write_text(f"{governor}\n")
        (policy / "scaling_available_governors").write_text("ondemand schedutil performance\n")
    (tmp_path / "sys/policy2").mkdir()  # that knows no other one
    (tmp_path / "sys/policy2/scaling_governor").write_text("userspace\n")
    (tmp_path / "sys/policy2/scaling_available_governors").write_text("userspace\n")
    (tmp_path / "sys/policy3").mkdir()  # whose driver has no governors
    return tmp_path / "sys"


def test_it_is_set_kept_and_given_back(cpufreq, tmp_path):
    record = tmp_path / "state/governor.json"
    actions, now = change("set", record, True, cpufreq)
    assert len(actions) == 3 and now["policy0"] == "ondemand" and not record.exists()  # in check mode
    actions, now = change("set", record, False, cpufreq)
    assert now == {"policy0": "performance", "policy1": "performance"}
    assert json.loads(record.read_text()) == {"policy0": "ondemand", "policy1": "schedutil"}
    assert change("set", record, False, cpufreq) == ([], now)
    (cpufreq / "policy0/scaling_governor").write_text("ondemand")  # as after a boot
    change("set", record, False, cpufreq)
    assert json.loads(record.read_text())["policy1"] == "schedutil", "what it was when it was fresh"
    _, now = change("restored", record, False, cpufreq)
    assert now == {"policy0": "ondemand", "policy1": "schedutil"} and not record.exists()
    assert change("restored", record, False, cpufreq)[0] == []


def test_a_board_that_cannot_write_them_is_left_alone(cpufreq, tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda path, mode: mode != module.os.W_OK)
    assert change("set", tmp_path / "governor.json", False, cpufreq) == ([], {})


def test_a_kernel_without_cpufreq_is_left_alone(tmp_path):
    assert change("set", tmp_path / "governor.json", False, tmp_path / "nowhere") == ([], {})
    assert list(tmp_path.iterdir()) == []
