"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: stage_files
short_description: Put files onto a board that it does not have yet
description:
  - One round trip where the board has them all. What arrives is checked, and is at its place whole or not at all.
options:
  files: {type: list, elements: dict, required: true, description: ['source (here), path (there), sha256.']}
"""

EXAMPLES = """
- name: Stage the data set
  stage_files:
    files: [{source: cifar-100-python.tar.gz, path: /opt/cluster-kit/assets/cifar-100-python.tar.gz, sha256: 85cd...}]
"""

RETURN = """
staged: {type: list, returned: always, description: [Paths of the files that were missing.]}
"""
