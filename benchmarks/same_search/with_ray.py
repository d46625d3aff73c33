"""Ray Tune, two trials at a time."""

import sys
import tempfile

import ray
from ray import tune

from benchmarks.same_search.search import load, objective

data = load(sys.argv[1])


def one(config: dict[str, float | int]) -> dict[str, float]:
    return {"mse": objective(data, **config)}


with tempfile.TemporaryDirectory() as scratch:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    space = {
        "learning_rate": tune.grid_search([0.0001, 0.001, 0.01]),
        "hidden": tune.grid_search([32, 64, 128]),
        "layers": tune.grid_search([1, 2]),
    }
    tuner = tune.Tuner(
        one,
        param_space=space,
        tune_config=tune.TuneConfig(metric="mse", mode="min"),
        run_config=tune.RunConfig(storage_path=scratch, verbose=0),
    )
    best = tuner.fit().get_best_result()
    print(best.metrics["mse"], best.config)
    ray.shutdown()
