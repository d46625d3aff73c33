"""The vocabulary that the trainer, the local runner and the operator share.

The rule here: the standard library, pydantic and yaml, nothing else. No torch, no kopf, no network, no clock.
Data flows one way: text -> `load` -> experiment -> `expand` -> trials -> records -> `summary`.
"""
