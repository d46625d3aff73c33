"""Says what runs next, on this machine and on a cluster alike. Pure: no clock, no I/O, randomness only by seed."""
