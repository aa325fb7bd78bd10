"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: place_run
short_description: Give a board its part of a run in one round trip
description:
  - Puts C(run.json), C(tf_config.json), for a run that goes on its records and checkpoint, and the trainer's source
    where the board lacks it, onto the board, whole or not at all. Fails where the board has the run already.
options:
  run_dir: {type: path, required: true, description: [The run's folder on the controller, with run.json.]}
  board_dir: {type: path, required: true, description: [The run's folder on the board.]}
  home: {type: path, required: true, description: [The kit's folder on the board.]}
  trainer: {type: dict, required: true, description: [source, an archive on the controller; path on the board.]}
  tf_config: {type: dict, required: true, description: [The content of tf_config.json.]}
  records: {type: path, default: "", description: [Folder on the controller with what the board goes on from.]}
"""

EXAMPLES = """
- name: Give the board its part of the run
  place_run:
    run_dir: "{{ run_config_run.run_dir }}"
    board_dir: "{{ run_config_run.board_dir }}"
    home: /opt/cluster-kit
    trainer: "{{ run_config_run.trainer }}"
    tf_config: {cluster: {worker: ["10.0.0.1:12345"]}, task: {type: worker, index: 0}}
"""

RETURN = """ # """
