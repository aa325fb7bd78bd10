"""What the kit measures of itself, on emulated boards: `make bench-NAME` writes runs/bench-NAME.json."""
