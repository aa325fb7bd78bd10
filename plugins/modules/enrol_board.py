"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: enrol_board
short_description: Make a board that has only a password one that Ansible reaches with a key, or take that back
description:
  - Looks at the board's host key and refuses it if another one is pinned or expected; pins it; logs in with the
    password and adds the controller's public key; logs in with the key, over a new connection, and sees that sudo
    works. Whatever is as it should be is left alone.
  - Where the board is and who logs in is what Ansible's own connection to it says, and what ssh makes of that; so jump
    hosts, proxies and names from ~/.ssh/config are as good as addresses.
  - The password goes to the board over the connection alone, and only after the host key was found right. It is in no
    result and in no process's arguments. Set C(no_log) nevertheless, since Ansible knows the task's arguments.
  - With C(state=absent) it takes that back, with the key and, where sudo asks for one, the password. It removes the
    rule for sudo, the one line of C(authorized_keys) that is exactly the public key's, and the pinned host key. A board
    whose host key is not pinned counts as taken back already.
  - Does not fail, so that all boards' problems can be told at once; look at RV(problem).
  - Check mode only looks.
options:
  password: {type: str, default: "", description: ["The account's, for login and sudo. Empty if none is known."]}
  known_hosts: {type: path, required: true, description: [Where host keys are pinned.]}
  private_key_file: {type: path, required: true, description: [The controller's key, or its public one with an agent.]}
  public_key_file: {type: path, required: true, description: [What the board gets of it.]}
  fingerprint: {type: str, default: "", description: ["The host key's, as SHA256:..., if it is known."]}
  confirmed:
    type: bool
    default: false
    description: [Whether somebody found a new host key to be the board's; only then a password is sent to it.]
  accept_new: {type: bool, default: true, description: [Whether a new host key will do without a fingerprint.]}
  sudo_nopasswd: {type: bool, default: true, description: [Whether the account is to get root without a password.]}
  timeout_s: {type: float, default: 10, description: [Seconds to wait for an answer of the board.]}
  state: {type: str, default: present, choices: [present, absent], description: [Whether the board is to be enrolled.]}
  traces:
    type: list
    elements: str
    default: []
    description: [Paths on the board that provisioning leaves; with C(state=absent) those that are there are told.]
  look: {type: bool, default: false, description: [Only look, and send no password.]}
"""

EXAMPLES = """
- name: Enrol the board
  enrol_board:
    password: "{{ enrol_password }}"
    known_hosts: inventory/boards/.ssh/known_hosts
    private_key_file: inventory/boards/.ssh/id_ed25519
    public_key_file: inventory/boards/.ssh/id_ed25519.pub
  no_log: true
"""

RETURN = """
host_key: {type: str, returned: always, description: [Type and SHA256 fingerprint, with C(new) if it was not pinned.]}
wants_confirmation:
  type: bool
  returned: always
  description: [Whether the password that was given would go to a host key that is new and has no fingerprint.]
wants_password: {type: bool, returned: always, description: [Whether a password is needed and none was given.]}
sudo: {type: str, returned: success, description: ["free, password or untried."]}
taken:
  type: list
  elements: str
  returned: with C(state=absent)
  description: ["What was or would be taken back: key, sudo rule, host key."]
pinned: {type: int, returned: with C(state=absent), description: [How many host keys are pinned for other hosts.]}
remarks:
  type: list
  elements: str
  returned: with C(state=absent)
  description: ["What stays, and what should come first: sentences for people."]
problem: {type: str, returned: always, description: [What is wrong and the remedy, or empty.]}
"""
