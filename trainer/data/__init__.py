"""Data sets: rows from a source, windows cut from them, shards on disk, a virtual multiple of them.

The rule here: numpy and the standard library. A source imports what only it needs inside its functions, so the
default source works where neither pandas nor torch is installed.
Data flows one way: source -> `Series` -> `split` -> `windows` -> `shards` -> `Dataset` -> `Multiplied`.
"""
