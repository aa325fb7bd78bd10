"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: run_study
short_description: Make the runs of a study that are not there yet
description:
  - Calls C(playbooks/run_experiment.yml) for each run that is missing, one after the other, with the options of this
    command and its secrets (of the vault, for login and sudo), which are asked for once. A run that was begun and not
    collected is picked up first, with C(playbooks/collect.yml).
  - C(--tags), C(--skip-tags), C(--start-at-task) and C(--step) are refused.
  - A run that fails is made again, up to I(tries) times in all; then the study goes on with the next one.
  - Ctrl-C stops the run that is under way, collects it, and ends the study; the same command goes on with it.
options:
  study: {type: str, required: true, description: [Name of a file in studies/, or the path of one.]}
  boards: {type: list, elements: str, required: true, description: [Boards in rank order.]}
  repeats: {type: int, description: [In place of the number that the study has.]}
  again:
    type: bool
    default: false
    description: [Whether a study that is complete is made once more, and not only reported.]
  tries: {type: int, default: 2, description: [How often a run is made at most.]}
  measure:
    type: bool
    default: true
    description: [Whether to measure first where nothing tells how long the runs will take.]
  project: {type: path, required: true, description: [The checkout.]}
  runs_dir: {type: path, required: true, description: [Where runs have their folders.]}
"""

EXAMPLES = """
- name: Make the runs that are missing
  run_study:
    study: paper
    boards: "{{ ansible_play_hosts_all }}"
    project: "{{ playbook_dir | dirname }}"
    runs_dir: "{{ playbook_dir | dirname }}/runs"
"""

RETURN = """
folders: {type: list, returned: success, description: [Folders of all runs of the study, the failed ones too.]}
missing: {type: list, returned: success, description: [Runs without which the study ended, as study/arm/repeat.]}
"""
