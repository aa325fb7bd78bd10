"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: stage_files
short_description: Copy files to a board unless it has them
description:
  - One round trip if the board has all of them. Arriving files are checked, and put in place atomically.
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
