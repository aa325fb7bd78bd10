"""Runs on a board: trains an experiment as one worker of a cluster and records the run."""
