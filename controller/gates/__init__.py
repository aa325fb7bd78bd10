"""The gates that boards must pass before a run: `judge` has the list."""
