"""Prints how a Python environment differs from what is wanted, as one JSON object; runs in that environment.

Reads from standard input: path, python (version), required ([name, version], ...) and pins (name to version; of what
is not installed, no version is wrong).
"""

import json
import os
import sys
from importlib import metadata
from typing import Any, Dict, List


def compare(wanted: Dict[str, Any]) -> List[str]:
    """Returns the sentences on what is not as wanted."""
    found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in metadata.distributions()}
    python = "{}.{}".format(*sys.version_info[:2])
    problems = [] if python == wanted["python"] else [f"Python is {python}, not {wanted['python']}"]
    required = {name.lower().replace("_", "-"): version for name, version in wanted["required"]}
    pins = {name: version for name, version in wanted["pins"].items() if name in found}
    for name, version in {**pins, **required}.items():
        if found.get(name) != str(version):
            problems.append(f"{name} is {found.get(name, 'missing')}, not {version}")
    return problems


wanted = json.load(sys.stdin)
print(json.dumps({"problems": compare(wanted), "writable": os.access(wanted["path"], os.W_OK)}))
