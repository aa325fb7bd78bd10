"""The live view of a run, from the copies of its boards' records on the controller."""
