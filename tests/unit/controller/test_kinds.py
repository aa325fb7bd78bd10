"""What a board is, and what provisioning is to do with it."""

import json
import re

import pytest

from controller import kinds, requirements_file
from controller.kinds import kind, of_answer
from tests import PROJECT
from trainer.contract import releases

R36 = "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic, EABI: aarch64"
PI = {"python": "3.11.2", "machine": "aarch64", "os": "Debian GNU/Linux 12 (bookworm)", "release": None}


def test_a_jetson_gets_what_its_release_says():
    found = kind({"release": R36, "module": "nvidia,p3768-0000+p3767-0005", "python": "3.10.12"})
    assert (found["name"], found["label"], found["problem"]) == ("jetson", "Orin Nano Developer Kit, JetPack 6.2", "")
    assert (found["suite"], found["cuda"], found["python_program"]) == ("r36.4", "12.6", "python3.10")
    assert found["tensorflow"].endswith("/jp/v61/tensorflow/tensorflow-2.16.1+nv24.08-cp310-cp310-linux_aarch64.whl")
    assert len(found["tensorflow_sha256"]) == 64 and found["pycuda"] == ""


def test_the_papers_release_is_the_one_that_is_pinned_whole():
    found = kind({"l4t_package": "35.3.1-20230319081403"})
    assert (found["package"], found["doubts"]) == ("5.1.1-b56", [])
    assert (found["pycuda"], found["requirements"]) == ("pycuda==2022.2.2", "jetson.txt")


@pytest.mark.parametrize(
    ("linux", "says"),
    [
        ("35.6.1", ["no version of nvidia-jetpack is pinned", "is from one source"]),
        ("36.4.0", ["no version of nvidia-jetpack is pinned"]),
    ],
)
def test_what_is_not_known_for_sure_is_told(linux, says):
    found = kind({"l4t_package": f"{linux}-2024"})["doubts"]
    assert len(found) == len(says) and all(words in told for words, told in zip(says, found, strict=True))


@pytest.mark.parametrize(
    ("survey", "wanted", "says"),
    [
        (
            {"release": "# R32 (release), REVISION: 7.1, GCID", "old_python": "3.6.9"},
            "",
            "has Jetson Linux R32.7.1; wan",
        ),
        ({"l4t_package": "34.1.1-2022"}, "", "flash JetPack 5.1.1"),
        ({"release": R36}, "35.6.1", "wanted is R35.6.1: flash JetPack 5.1.5"),
        (PI, "35.3.1", "is not a Jetson"),
        ({**PI, "python": "3.14.1"}, "", "has Python 3.14, and the kit has TensorFlow for 3.8 to 3.13"),
        ({"old_python": "3.6.9"}, "", "has Python 3.6,"),
        ({**PI, "machine": "armv7l"}, "", "is an armv7l machine, .* x86_64 and aarch64: install a 64-bit system"),
    ],
)
def test_what_cannot_be_provisioned_is_refused_with_a_remedy(survey, wanted, says):
    assert re.search(says, kind(survey, wanted)["problem"])


@pytest.mark.parametrize(("python", "file"), [("3.8.10", "board"), ("3.9.2", "board"), ("3.10.4", "board-newest")])
def test_another_linux_board_gets_the_newest_tensorflow_of_its_python(python, file):
    found = kind({**PI, "python": python})
    assert (found["name"], found["problem"], found["requirements"]) == ("linux", "", f"{file}.txt")
    assert found["label"] == f"Debian GNU/Linux 12 (bookworm), aarch64, Python {found['python']}"


@pytest.mark.parametrize("machine", kinds.MACHINES)
@pytest.mark.parametrize("python", [*kinds.OLDER_PYTHONS, *kinds.NEWEST_PYTHONS])
def test_the_locks_have_one_tensorflow_for_every_kind(python, machine):
    found = kind({**PI, "python": python, "machine": machine})
    settings = {"requirements": found["requirements"], "python_version": found["python"], "machine": found["machine"]}
    settings |= {"tensorflow": "", "wheel": "", "pycuda": "", "pins": {}}
    planned = requirements_file.plan((PROJECT / "requirements" / found["requirements"]).read_text(), settings)
    assert planned["problems"] == []
    assert len([name for name in planned["packages"] if re.fullmatch("tensorflow(-cpu(-aws)?)?", name)]) == 1


def test_an_answer_that_is_no_survey_is_a_problem_and_harms_nobody():
    for stdout in ("", "[]", "{", '{"python": 3, "os": ["x"]}', '{"machine": {}, "python": "3.11\\u001b[2J"}'):
        found = of_answer({"stdout": stdout, "stderr": "sh: python3: not found", "rc": 127})
        assert found["problem"] and found["name"] == "linux" and "\x1b" not in str(found)
    assert "sh: python3: not found" in of_answer({"stdout": "", "stderr": "sh: python3: not found"})["problem"]
    assert of_answer({"stdout": json.dumps(PI)})["problem"] == ""


def test_every_release_has_a_lock_and_an_address_of_its_python():
    for release in releases.RELEASES.values():
        assert (PROJECT / "requirements" / release.requirements).exists()
        assert release.wheel.python == f"cp{release.python.replace('.', '')}"
        assert release.wheel.address.startswith("https://") and release.jetpack.split(".")[0] in "56"
