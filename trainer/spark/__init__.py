"""Runs the trials of a search through Spark's TorchDistributor, on this machine or on a cluster of Spark's."""
