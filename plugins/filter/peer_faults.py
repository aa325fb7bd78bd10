"""The filter peer_faults."""

from controller.addresses import peer_faults

DOCUMENTATION = """
name: peer_faults
short_description: Tell what is wrong with the addresses that a firewall is to let in
description:
  - It wants addresses in numbers, and none that every board has.
options:
  _input: {type: list, required: true, description: [The addresses.]}
"""

EXAMPLES = """
# one sentence: every Jetson has the first address
faults: "{{ ['192.168.55.1', '192.168.1.12'] | peer_faults }}"
"""

RETURN = """
_value: {type: list, elements: str, description: [A sentence, with the remedy, for each address that will not do.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"peer_faults": peer_faults}
