"""joblib, two processes."""

import sys

from joblib import Parallel, delayed

from benchmarks.same_search.search import GRID, load, objective

data = load(sys.argv[1])
values = Parallel(n_jobs=2)(delayed(objective)(data, **point) for point in GRID)
print(min((value, str(point)) for value, point in zip(values, GRID, strict=True)))
