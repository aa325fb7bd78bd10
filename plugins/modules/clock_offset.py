"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: clock_offset
short_description: Measure a board's clock against the controller's
description:
  - Asks the board for its time over the connection that Ansible keeps open, I(rounds) times, and takes the round with
    the smallest delay. The true offset is within C(uncertainty_s), half that delay, of C(offset_s), whatever the
    network does, as long as neither clock is set meanwhile.
  - Changes nothing but I(dest).
options:
  rounds: {type: int, default: 8, description: [Questions to the board.]}
  dest: {type: path, default: "", description: [A JSON file on the board that keeps the result; its folder exists.]}
"""

EXAMPLES = """
- name: Measure the clock
  clock_offset:
    dest: /opt/cluster-kit/clock.json
"""

RETURN = """
offset_s: {type: float, returned: success, description: [By how many seconds the board's clock is ahead.]}
uncertainty_s: {type: float, returned: success, description: [How far, at most, the true offset is from that.]}
rounds: {type: int, returned: success, description: [Questions that were answered.]}
board_s: {type: float, returned: success, description: [The board's time of it, in seconds since 1970.]}
measured_at: {type: str, returned: success, description: [The controller's time, UTC.]}
"""
