"""Runs an experiment on this machine: one trial after another, or several at a time."""
