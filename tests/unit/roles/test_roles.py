"""What all roles have in common: their interface is the same in defaults and in argument_specs."""

import pytest
import yaml

from tests import PROJECT

ROLES = PROJECT / "roles"


def test_apts_lock_is_waited_for_in_one_place_for_half_an_hour():
    used = {path.relative_to(ROLES).parts[0] for path in ROLES.rglob("*.yml") if "builtin.apt:" in path.read_text()}
    assert used == {"apt", "lab"}  # the lab's are for the controller
    assert yaml.safe_load((ROLES / "apt/defaults/main.yml").read_text())["apt_lock_s"] == 1800


@pytest.mark.parametrize("role", sorted(path.name for path in ROLES.iterdir()))
def test_argument_specs_mirror_the_defaults(role):
    defaults = yaml.safe_load((ROLES / role / "defaults/main.yml").read_text())
    specs = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]
    options = {name: option for entry in specs.values() for name, option in entry.get("options", {}).items()}
    assert {name for name, option in options.items() if not option.get("required")} == set(defaults)
    stated = {name: option["default"] for name, option in options.items() if "default" in option}
    assert stated == {name: defaults[name] for name in stated}
