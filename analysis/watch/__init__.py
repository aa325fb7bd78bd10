"""What a live view of a run shows, from files that grow: see controller/watch, which reaches the boards for it."""
