"""Runs on the boards: trains one experiment as one worker of a cluster, and records what happened."""
