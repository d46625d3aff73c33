"""Ray Tune, one trial at a time: COUNT trials, the results to FILE; with `reuse` in one process."""

import sys
import tempfile

import ray
from ray import tune

from benchmarks.same_script.adam import train
from benchmarks.same_script.points import leave, rates

count, file, reuse = int(sys.argv[1]), sys.argv[2], "reuse" in sys.argv[3:]


def one(config: dict[str, float]) -> dict[str, float]:
    return {"loss": train(config["lr"])}


with tempfile.TemporaryDirectory() as scratch:
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        one,
        param_space={"lr": tune.grid_search(rates(count))},
        tune_config=tune.TuneConfig(metric="loss", mode="min", max_concurrent_trials=1, reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=scratch, verbose=0),
    )
    results = tuner.fit()
    leave(file, ((each.config["lr"], each.metrics["loss"]) for each in results))
    ray.shutdown()
