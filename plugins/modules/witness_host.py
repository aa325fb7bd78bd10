"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: witness_host
short_description: Have a host break ties between halves of a run's boards
description:
  - Copies C(witness.py) of the run's trainer and the key of the heartbeats, which C(begin_run) made, to the host, and
    starts it, in one round trip. The host needs Python 3.8 or newer and nothing of the kit.
  - With C(state=absent) it is ended, and its folder, ~/.cluster-kit/witness/RUN, is deleted.
options:
  state: {type: str, default: present, choices: [present, absent], description: [Whether it answers boards.]}
  run_id: {type: str, required: true, description: [The run's id.]}
  trainer: {type: path, default: "", description: ["An archive of the run's trainer, on the controller."]}
  address: {type: str, default: "", description: [At which boards reach the host.]}
  limit_s: {type: float, default: 86400, description: [Seconds after which it ends by itself.]}
  python: {type: str, default: python3, description: [The host's Python.]}
"""

EXAMPLES = """
- name: Start the witness
  witness_host:
    run_id: 20261121T120000Z-paper-w2-s1-3f9a1c
    trainer: .cache/trainer-0123456789abcdef.tar.gz
    address: 192.168.1.5
  delegate_to: nas
  run_once: true
"""

RETURN = """
address: {type: str, returned: success, description: ["Where it answers: address:port; empty with state=absent."]}
"""
