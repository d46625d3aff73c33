"""Tells MLflow of experiments: by its REST interface, from a process of its own that nothing waits for."""
