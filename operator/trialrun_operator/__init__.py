"""Runs experiments on Kubernetes. It knows the API server and `trainer.experiment`, and nothing else of ours."""
