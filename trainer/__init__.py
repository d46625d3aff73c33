"""Trialrun's trainer: runs hyperparameter searches and scale tests, one trial or a whole experiment."""
