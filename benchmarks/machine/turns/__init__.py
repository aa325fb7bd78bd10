"""Workers that take turns in one process: how much several boards learn, without their network. Python 3.8.

Learning does not depend on the link, only on what is averaged and when. So the trainer's own workers train here, each
in a thread with a model of its own, and the mean over them is taken in memory.
"""
