"""Files of the kernel: a whole number, or none."""

import pytest

from trainer.contract import sysfs


@pytest.mark.parametrize(
    ("content", "number"),
    [
        ("18446744073709551615\n", 2**64 - 1),
        ("-1", -1),
        ("", None),
        ("1.5", None),
        ("1_000", None),
        ("\u0661", None),
        ("9" * 5000, None),
    ],
)
def test_a_number_is_one_of_the_kernels(tmp_path, content, number):
    path = tmp_path / "file"
    path.write_text(content, encoding="utf-8")
    assert sysfs.number(path) == number


def test_a_file_that_is_not_there_has_none(tmp_path):
    assert sysfs.number(tmp_path / "file") is None
