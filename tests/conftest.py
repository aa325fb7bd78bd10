"""`make test` has two lanes: one for the lab, whose boards share this machine and its clock, one for all else."""

from __future__ import annotations

import contextlib
import os

import pytest


def _is_lab(item: pytest.Item) -> bool:
    return item.path.parent.name == "lab"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What pytest-xdist keeps together: all of the lab, and else each module, for its fixtures."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("lab" if _is_lab(item) else item.path.name))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The other lane takes what the lab leaves of the cores: tests of the lab look at times."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        with contextlib.suppress(PermissionError):  # not root: no lab either
            os.setpriority(os.PRIO_PROCESS, 0, 0 if _is_lab(item) else 19)
