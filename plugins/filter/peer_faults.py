"""The filter peer_faults."""

from controller.addresses import peer_faults

DOCUMENTATION = """
name: peer_faults
short_description: Find addresses that a firewall cannot use
description:
  - Firewalls need IPv4 addresses, and no board-internal ones.
options:
  _input: {type: list, required: true, description: [The addresses.]}
"""

EXAMPLES = """
# one sentence: every Jetson has the first address
faults: "{{ ['192.168.55.1', '192.168.1.12'] | peer_faults }}"
"""

RETURN = """
_value: {type: list, elements: str, description: [A sentence with a remedy for each unusable address.]}
"""


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"peer_faults": peer_faults}
