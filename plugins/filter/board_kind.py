"""The filter board_kind."""

from controller.kinds import of_answer

DOCUMENTATION = """
name: board_kind
short_description: Tell what a board is by its survey
description:
  - What provisioning does with such a board; see C(controller/kinds.py).
positional: wanted
options:
  _input: {type: dict, required: true, description: [The result of the task that surveyed the board.]}
  wanted: {type: str, required: true, description: [The release of Jetson Linux that it must have; empty for any.]}
"""

EXAMPLES = """
kind_found: "{{ answer | board_kind('') }}"
"""

RETURN = """
_value: {type: dict, description: [Its name, label and problem, and the packages that it is to get.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"board_kind": of_answer}
