"""Documentation of the action plugin of the same name, which runs on the controller."""

DOCUMENTATION = """
module: resume_run
short_description: Move the previous attempt aside, so that a run can resume
description:
  - The run resumes from the last checkpoint that every board has completely.
  - A board that replaces a lost one takes over its rank and records, and has its checkpoint or another board's.
  - Fails for a run that has succeeded.
options:
  run_dir: {type: path, required: true, description: [The run's folder on the controller.]}
  replace: {type: dict, default: {}, description: ["New boards by the names of lost ones."]}
"""

EXAMPLES = """
- name: Resume the run
  resume_run:
    run_dir: runs/20261121T120000Z-paper-w2-s1-3f9a1c
"""

RETURN = """
epoch: {type: int, returned: success, description: [The epoch (from 1) after which it resumes; 0 for the beginning.]}
images: {type: int, returned: success, description: [Images of the next epoch that are not trained on again.]}
"""
