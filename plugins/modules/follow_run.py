"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: follow_run
short_description: Follow the trainer on a board until it has ended
description:
  - Looks at the board every I(poll_s) seconds over the connection that Ansible keeps open, which costs the board next
    to nothing, and copies new records to the controller as they come, for the live view as well.
  - The chief's follower prints a line for each epoch.
  - Fails as soon as the trainer of this board has failed, or that of another board of the same run. The cause is
    determined later, from all boards' files. The failure of a board that the others go on without is a warning. Such
    is a worker alone beside dedicated parameter servers, and with on_board_loss continue any but the last.
  - With on_board_loss continue, a board whose supervisor is gone, for example after a reboot, is started again. With
    tie_break controller, a board is named for each generation for which one asks.
options:
  board_dir: {type: path, required: true, description: [The run's folder on the board.]}
  run_dir: {type: path, required: true, description: [The run's folder on the controller.]}
  started: {type: dict, default: {}, description: [The result of the command that started the supervisor.]}
  restart: {type: list, elements: str, default: [], description: [The command that starts the supervisor.]}
  trainer_dir: {type: path, default: "", description: [Folder of the trainer's source on the board.]}
  unreachable_limit_s: {type: float, required: true, description: [Seconds that the board may be unreachable.]}
  poll_s: {type: float, default: 2, description: [Seconds between looks.]}
"""

EXAMPLES = """
- name: Follow the trainer to its end
  follow_run:
    board_dir: /opt/cluster-kit/runs/20261121T120000Z-paper-w2-s1-3f9a1c
    run_dir: runs/20261121T120000Z-paper-w2-s1-3f9a1c
    unreachable_limit_s: 120
"""

RETURN = """
status: {type: str, returned: always, description: ['succeeded, failed, interrupted or lost.']}
msg: {type: str, returned: failure, description: [One sentence.]}
"""
