"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: place_run
short_description: Copy a board's part of a run to it in one round trip
description:
  - Copies C(run.json), C(tf_config.json), the key of the heartbeats that C(begin_run) made, a resumed run's records and
    checkpoint, and the trainer's source unless the board has the same, atomically. Warns if the board had another one.
  - Fails if the board already has the run.
options:
  run_dir: {type: path, required: true, description: [The run's folder on the controller, with run.json.]}
  board_dir: {type: path, required: true, description: [The run's folder on the board.]}
  home: {type: path, required: true, description: [The kit's folder on the board.]}
  trainer: {type: dict, required: true, description: [source, an archive on the controller; path on the board.]}
  tf_config: {type: dict, required: true, description: [The content of tf_config.json.]}
  records: {type: path, default: "", description: [Controller folder with a resumed board's records and checkpoint.]}
"""

EXAMPLES = """
- name: Copy the board's part of the run
  place_run:
    run_dir: "{{ run_config_run.run_dir }}"
    board_dir: "{{ run_config_run.board_dir }}"
    home: /opt/cluster-kit
    trainer: "{{ run_config_run.trainer }}"
    tf_config: {cluster: {worker: ["10.0.0.1:12345"]}, task: {type: worker, index: 0}}
"""

RETURN = """ # """
