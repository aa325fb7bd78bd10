"""What a person is told of a pip that has been at work on a board for minutes."""

import pytest

from controller.plugins import noted_pip

TIME = "2026-11-27T02:52:42,903"


@pytest.mark.parametrize(
    ("look", "told"),
    [
        ("", ""),  # it has not begun
        (f"{TIME} Collecting gast==0.4.0\r\n", "Collecting gast==0.4.0"),
        (
            f"{TIME}   Downloading http://x/a/tensorflow-2.12.0%2Bnv23.5-cp38.whl (475.2 MB)\r\n"
            "4792320 gast-0.4.0.whl\r\n120400000 tensorflow-2.12.0+nv23.5-cp38.whl\r\n",
            "120 of 475 MB of tensorflow-2.12.0+nv23.5-cp38.whl",
        ),
        (f"{TIME}   Downloading gast-0.4.0.whl (9.8 kB)\n", "Downloading gast-0.4.0.whl (9.8 kB)"),  # moved meanwhile
        (f"hello from .bashrc\n{TIME}   Building wheel for pycuda (pyproject.toml): started\n1 pycuda.tar.gz\n",
         "Building wheel for pycuda (pyproject.toml): started"),
        (f"{TIME} Installing collected packages: {', '.join('abcdefghijklmnopqrstuvwxyz')}\n",
         f"{'Installing collected packages: ' + ', '.join('abcdefghijklmnopq'):.80}..."),
    ],
)  # fmt: skip
def test_what_it_is_doing_is_read_from_its_log_and_its_files(look, told):
    assert noted_pip.stage(look) == told
