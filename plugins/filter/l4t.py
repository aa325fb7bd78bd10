"""The filter l4t."""

from trainer.contract.releases import l4t

DOCUMENTATION = """
name: l4t
short_description: Find a board's release of Jetson Linux
description:
  - Reads the first line of C(/etc/nv_tegra_release), else the version of a package.
positional: package
options:
  _input: {type: str, required: true, description: [The first line of that file; empty if missing.]}
  package: {type: str, required: true, description: [The version of C(nvidia-l4t-core); empty if missing.]}
"""

EXAMPLES = """
# 35.3.1
release: "{{ '# R35 (release), REVISION: 3.1, GCID: 32827747' | l4t('') }}"
"""

RETURN = """
_value: {type: str, description: [The release, such as 35.3.1; none if unknown.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"l4t": l4t}
