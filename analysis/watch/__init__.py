"""What a live view of a run shows, from the copies of its boards' records on the controller."""
