"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: begin_run
short_description: Make a run's folder on the controller
description:
  - Writes C(run.json), unless the run is one that goes on, C(gates.json) and C(prediction.json).
  - Makes a key for the boards' heartbeats, in Ansible's temporary folder, from where C(place_run) copies it.
  - Fails where the folder of a new run exists already.
options:
  run_dir: {type: path, required: true, description: [The run's folder on the controller.]}
  run: {type: dict, required: true, description: [The content of run.json.]}
  gates: {type: dict, default: {}, description: [What the check stage found.]}
  prediction: {type: dict, default: {}, description: [What the run is expected to take, where that is known.]}
  resume: {type: bool, default: false, description: [Whether the run goes on.]}
"""

EXAMPLES = """
- name: Begin the run
  begin_run:
    run_dir: "{{ run_config_run.run_dir }}"
    run: "{{ run_config_run.run }}"
"""

RETURN = """ # """
