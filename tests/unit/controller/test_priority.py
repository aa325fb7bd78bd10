"""The controller's processes give way to emulated boards, which share the processor with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.priority import give_way

STARTS_ANOTHER = """
import os, subprocess, sys
from controller.priority import likewise
if sys.argv[1:] == ["gives way"]:
    os.nice(19)
child = subprocess.Popen(["sleep", "60"], start_new_session=True)
likewise(child.pid)
print(os.getpriority(os.PRIO_PROCESS, child.pid), open(f"/proc/{child.pid}/autogroup").read().strip())
child.kill()
child.wait()
"""


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield child.pid
    child.kill()
    child.wait()


needs_autogroups = pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="no autogroups here")


@needs_autogroups
def test_a_process_and_its_session_give_way(sleeper):
    give_way(sleeper)
    assert os.getpriority(os.PRIO_PROCESS, sleeper) == 19
    assert Path(f"/proc/{sleeper}/autogroup").read_text().strip().endswith("nice 19")


@needs_autogroups
@pytest.mark.parametrize(("how", "expected"), [("gives way", (19, 19)), ("does not", (os.nice(0), 0))])
def test_what_it_starts_in_another_session_does_as_it_does(how, expected):
    done = subprocess.run([sys.executable, "-c", STARTS_ANOTHER, how], capture_output=True, text=True, check=True)
    own, *_, of_session = done.stdout.split()
    assert (int(own), int(of_session)) == expected
