"""The filter survey_sources."""

from controller.gates.survey import sources

DOCUMENTATION = """
name: survey_sources
short_description: Read the modules that survey a board
description:
  - The role check sends them to boards without the kit.
options:
  _input: {type: path, required: true, description: [The checkout.]}
"""

EXAMPLES = """
sources: "{{ kit_project | survey_sources }}"
"""

RETURN = """
_value: {type: dict, description: [Sources by their path in the checkout.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"survey_sources": sources}
