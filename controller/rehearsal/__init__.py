"""`make rehearse`: the study studies/rehearsal.yml on two emulated boards, with what happens on the screen.

Playbooks do the work, and their output goes to a log; the screen reads the records that they copy from the boards.
"""
