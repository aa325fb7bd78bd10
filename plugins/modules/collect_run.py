"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: collect_run
short_description: Fetch what a run left on a board, and leave the board clean
description:
  - Ends what still runs of it, packs what it left in the board's memory, unpacks that on the controller, and removes it
    from the board once it is here.
options:
  run_dir: {type: path, required: true, description: [The run's folder on the controller.]}
  board_dir: {type: path, required: true, description: [The run's folder on the board.]}
  trainer_dir: {type: path, required: true, description: [The trainer's source on the board.]}
  python: {type: path, required: true, description: [The boards' Python environment.]}
"""

EXAMPLES = """
- name: Fetch what the board has
  collect_run:
    run_dir: runs/20261121T120000Z-paper-w2-s1-3f9a1c
    board_dir: /opt/cluster-kit/runs/20261121T120000Z-paper-w2-s1-3f9a1c
    trainer_dir: /opt/cluster-kit/trainer/0123456789abcdef
    python: /opt/cluster-kit/venv/bin/python
"""

RETURN = """ # """
