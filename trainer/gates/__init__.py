"""The gates that boards must pass before a run: `judge` has the list. On the controller, standard library only."""
