"""Prints every figure that the docs quote of the local side."""

import platform

from benchmarks import loops, memory, packing, programs, runner, scale, startup, systems
from trainer.machine import cpu_model

if __name__ == "__main__":
    print(f"{cpu_model()}, {platform.platform()}, Python {platform.python_version()}")
    for bench in (loops, packing, startup, memory, runner, scale, systems, programs):
        bench.main()
