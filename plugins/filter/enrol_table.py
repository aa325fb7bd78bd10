"""The filter enrol_table."""

from controller.table import aligned

DOCUMENTATION = """
name: enrol_table
short_description: Lay out the cells of rows below each other
description:
  - The columns are as wide as their longest cell, two blanks apart.
options:
  _input: {type: list, elements: list, required: true, description: [Rows of as many cells, which are text.]}
"""

EXAMPLES = """
lines: "{{ [['board', 'sudo'], ['orin-1', 'free']] | enrol_table }}"
"""

RETURN = """
_value: {type: list, elements: str, description: [A line for each row.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"enrol_table": aligned}
