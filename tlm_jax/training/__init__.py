"""State, objectives, the train step, the loop and its hooks."""
