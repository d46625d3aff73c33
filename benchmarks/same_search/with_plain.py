"""A plain Python loop, one configuration after another."""

import sys

from benchmarks.same_search.search import GRID, load, objective

data = load(sys.argv[1])
print(min((objective(data, **point), str(point)) for point in GRID))
