"""Ansible's plugins: ansible-doc tells of each of them, with the options that the code has, and no others."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import ansible.module_utils
import pytest

from controller.enrol import Board
from controller.plugins.base import documented
from tests import PROJECT

PLUGINS = PROJECT / "plugins"
ACTIONS = sorted(path.stem for path in (PLUGINS / "action").glob("*.py"))
MODULES = sorted({path.stem for path in (PLUGINS / "modules").glob("*.py")} - set(ACTIONS))
CALLBACKS = sorted(path.stem for path in (PLUGINS / "callback").glob("*.py"))


def filters():
    """Every filter by its name."""
    found = {}
    for path in (PLUGINS / "filter").glob("*.py"):
        found |= importlib.import_module(f"plugins.filter.{path.stem}").FilterModule().filters()
    return found


NAMES = {"module": [*ACTIONS, *MODULES], "filter": sorted(filters()), "callback": CALLBACKS, "shell": ["own_line"]}


def ansible_doc(kind, *arguments):
    command = [Path(sys.executable).with_name("ansible-doc"), "--playbook-dir", "playbooks", "-t", kind, "-j"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg")}
    done = subprocess.run([*command, *arguments], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", NAMES)
def test_ansible_doc_finds_every_plugin(kind):
    listed = {name.rpartition(".")[2]: short for name, short in ansible_doc(kind, "-l").items()}
    told = ansible_doc(kind, *NAMES[kind])
    for name in NAMES[kind]:
        assert re.match("[A-Z]", listed[name]), name
        assert told[name]["doc"]["short_description"] == listed[name]
        assert all(option["description"] for option in told[name]["doc"].get("options", {}).values())


def test_what_a_filter_takes_is_documented():
    told = ansible_doc("filter", *filters())
    for name, function in filters().items():
        doc = told[name]["doc"]
        others = function.__code__.co_varnames[1 : function.__code__.co_argcount]
        assert set(doc["options"]) == {"_input", *others}
        assert tuple(filter(None, (doc.get("positional") or "").split(", "))) == others
        assert told[name]["examples"] and told[name]["return"]["_value"]["type"]


def test_an_entry_has_no_code():
    for kind, its_class in (("action", "ActionModule"), ("callback", "CallbackModule")):
        for path in (PLUGINS / kind).glob("*.py"):
            entry = f"from controller.plugins.{path.stem} import {its_class} as {its_class}"
            text, *statements = ast.parse(path.read_text()).body
            assert ast.get_docstring(ast.Module([text], [])) and ast.unparse(statements[0]) == entry
            assert [ast.unparse(one)[:13] for one in statements[1:]] == ["DOCUMENTATION"] * (kind == "callback")


def options_of_resolve():
    """What controller.resolve and what it calls read of a request."""
    modules = ("resolve", "presets", "resume", "addresses", "witness")
    code = "".join((PROJECT / f"controller/{name}.py").read_text() for name in modules)
    others = {"seed", "workers", "addresses", "ssh_addresses"}  # read by names in variables
    return set(re.findall(r'request(?:\[|\.get\()"(\w+)"', code)) - {"check", "hosts"} | others


@pytest.mark.parametrize("name", ACTIONS)
def test_an_action_reads_each_option_that_it_documents_and_no_other(name):
    code = (PROJECT / f"controller/plugins/{name}.py").read_text()
    read = set(re.findall(r'options(?:\[|\.pop\()"(\w+)"', code))
    if name == "enrol_board":
        read |= {field.name for field in fields(Board)} - {"ssh"}
    if name == "resolve_run":
        read |= options_of_resolve()
    if name == "noted_pip":  # hands them on
        read |= set(documented(name)) & set(ansible_doc("module", "pip")["pip"]["doc"]["options"])
    assert read == set(documented(name))


class Asked(Exception):
    """With what a module told Ansible of its options."""


@pytest.mark.parametrize("name", MODULES)
def test_a_module_has_the_options_that_it_documents(name, monkeypatch):
    def module(argument_spec, **_):
        raise Asked(argument_spec)

    places = [*ansible.module_utils.__path__, str(PLUGINS / "module_utils")]
    monkeypatch.setattr(ansible.module_utils, "__path__", places)  # where Ansible puts ours
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule", module)
    spec = importlib.util.spec_from_file_location(name, PLUGINS / f"modules/{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    with pytest.raises(Asked) as asked:
        loaded.main()
    told = {option: {"no_log": False, **about} for option, about in asked.value.args[0].items()}
    assert told == {option: {"no_log": False, **about} for option, about in documented(name).items()}


def test_a_password_is_in_no_log():
    assert documented("enrol_board")["password"]["no_log"] is True
    assert not any(
        "no_log" in option for name in ACTIONS for key, option in documented(name).items() if key != "password"
    )
