"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: run_study
short_description: Make the missing runs of a study
description:
  - Calls C(playbooks/run_experiment.yml) for each run that is missing, one after the other, with the options of this
    command and its secrets (of the vault, for login and sudo), which are asked for once. A run that was started and not
    collected is collected first, with C(playbooks/collect.yml).
  - C(--tags), C(--skip-tags), C(--start-at-task) and C(--step) are refused.
  - A run that fails is repeated, up to I(tries) attempts; then the study continues with the next one.
  - Ctrl-C stops and collects the current run, and ends the study; the same command continues it.
options:
  study: {type: str, required: true, description: [Name of a file in studies/, or the path of one.]}
  boards: {type: list, elements: str, required: true, description: [Boards in rank order.]}
  repeats: {type: int, description: [Runs per arm; replaces the study's number.]}
  again:
    type: bool
    default: false
    description: [Whether to repeat a complete study instead of only reporting it.]
  tries: {type: int, default: 2, description: [Maximum attempts of a run.]}
  measure:
    type: bool
    default: true
    description: [Whether to measure first if the runs' duration is unknown.]
  project: {type: path, required: true, description: [The checkout.]}
  runs_dir: {type: path, required: true, description: [Folder of all runs.]}
"""

EXAMPLES = """
- name: Make the missing runs
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
