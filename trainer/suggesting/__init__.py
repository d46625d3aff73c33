"""What suggests the points of a search that learns: Optuna, in a process of its own."""
