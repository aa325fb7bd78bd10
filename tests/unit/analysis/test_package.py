"""The package's names: all there, and imported only when they are used."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

import analysis
from tests import PROJECT


def test_every_promised_name_is_there():
    for name in analysis.__all__:
        assert getattr(analysis, name) is not None
    assert set(analysis.__all__) <= set(dir(analysis))


@pytest.mark.parametrize("name", analysis.__all__)
def test_no_name_is_that_of_a_module_which_would_take_its_place(name):
    assert find_spec(f"analysis.{name}") is None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'analysis' has no attribute 'plot'"):
        analysis.plot  # noqa: B018


def test_a_manifest_needs_none_of_the_large_packages():
    code = (
        "import sys; from analysis import write_manifest; from controller.cli import main; "
        "print({'numpy', 'pandas', 'scipy', 'matplotlib'} & sys.modules.keys() or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"
