# Runs the survey (trainer/supervise/facts.py) of sources that come through standard input, where this Python can, else
# tells what keeps it from that: `python3 -c BEGIN REQUEST < SOURCES`, all of it JSON; sources are by path.
# Runs in any board's Python, even 2.7, until the version is checked.
import json
import platform
import sys


def said(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except (IOError, OSError):
        return None


if sys.version_info < (3, 8):
    print(json.dumps({"old_python": platform.python_version(), "release": said("/etc/nv_tegra_release")}))
    sys.exit(1)

import importlib.abc  # noqa: E402
import importlib.machinery  # noqa: E402

sources = json.load(sys.stdin)


class Sent(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the sent modules, so that nothing is written to the board."""

    def path(self, name):
        plain = name.replace(".", "/")
        return plain + "/__init__.py" if plain + "/__init__.py" in sources else plain + ".py"

    def find_spec(self, name, path=None, target=None):
        if self.path(name) not in sources:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=self.is_package(name))

    def is_package(self, name):
        return self.path(name).endswith("/__init__.py")

    def get_source(self, name):
        return sources[self.path(name)]


sys.meta_path.insert(0, Sent())
facts = importlib.import_module("trainer.supervise.facts")
print(json.dumps(facts.survey(json.loads(sys.argv[1]))))
