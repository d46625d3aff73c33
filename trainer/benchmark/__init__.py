"""Compares treatments by repeated runs: timer, box plots, intervals, tests. Of ours it needs only the vocabulary."""
