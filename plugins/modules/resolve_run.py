"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: resolve_run
short_description: Resolve a run, or report all problems
description:
  - Checks the experiment, the boards' addresses and the inputs of later stages' roles on the controller, and fails with
    all problems, one per line. Downloads or creates the files that boards need.
  - Prints the predicted time if the same boards were measured before.
options:
  task: {type: str, required: true, description: [train; or, without training, probe, trial or predict.]}
  experiment: {type: str, required: true, description: [Name of a file in experiments/.]}
  override: {type: raw, required: true, description: [Fields of the experiment to change.]}
  workers: {type: raw, required: true, description: [Boards to train on.]}
  seed: {type: raw, required: true, description: [Of initial weights, order of images and dropout.]}
  boards: {type: list, elements: str, required: true, description: [Names of all boards in rank order.]}
  speeds: {type: list, elements: raw, required: true, description: [How fast each computes, relative to the others.]}
  addresses: {type: list, elements: raw, required: true, description: [Of each in the training network.]}
  ssh_addresses: {type: list, elements: raw, required: true, description: [Of each, as ssh knows it.]}
  board_home: {type: str, required: true, description: [The kit's folder on the boards.]}
  project: {type: path, required: true, description: [This checkout.]}
  runs_dir: {type: path, required: true, description: [Where runs get their folders.]}
  study: {type: str, default: "", description: [The run's place in a study.]}
  design: {type: dict, default: {}, description: ["That study's factors and primary arm, if it has any."]}
  resume: {type: raw, description: [Name of a run that did not end well, to go on with.]}
  replace: {type: raw, default: {}, description: ["With resume: new boards by the names of lost ones."]}
  given: {type: list, elements: str, default: [], description: [Those of the options above that the user gave.]}
  run_id: {type: raw, description: [Id of an earlier run to follow and collect.]}
  witness: {type: str, default: "", description: ["Inventory name of a host that breaks ties, with tie_break witness."]}
  stages: {type: list, elements: str, default: [], description: [Roles whose inputs are checked, too.]}
"""

EXAMPLES = """
- name: Resolve the run
  resolve_run:
    task: train
    experiment: paper
    override: {epochs: 3}
    workers: 2
    seed: 1
    boards: [orin-1, orin-2]
    speeds: [1, 1]
    addresses: [192.168.1.11, 192.168.1.12]
    ssh_addresses: [192.168.1.11, 192.168.1.12]
    board_home: /opt/cluster-kit
    project: .
    runs_dir: runs
    stages: [check, train, collect]
"""

RETURN = """
run: {type: dict, returned: success, description: [The content of run.json.]}
run_dir: {type: str, returned: success, description: [The run's folder on the controller.]}
board_dir: {type: str, returned: success, description: [The run's folder on the boards.]}
trainer: {type: dict, returned: success, description: [Path of the trainer's source on the boards; source here.]}
assets: {type: list, returned: success, description: [Files that boards need, with source, path and sha256.]}
witness: {type: str, returned: success, description: [The host that breaks ties; empty without.]}
prediction: {type: dict, returned: success, description: [The predicted time; null if unknown.]}
"""
