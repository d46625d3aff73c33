"""The sentence on which treatment is best says no more than the figures do."""

from trainer.experiment.expand import expand
from trainer.experiment.outcome import Outcome
from trainer.report.treatments import verdict
from unit.builders import a_record
from unit.test_report_treatments import found, ledger, loading


def test_the_best_of_those_that_miss_no_run_is_not_called_the_best_of_all() -> None:
    experiment = loading()
    records = ledger(experiment)
    records[3] = a_record(expand(experiment)[3], outcome=Outcome.TIMED_OUT, error="too slow")
    assert verdict(found(experiment, records)).startswith(
        "Adam · 2 has the least mean of trainSeconds of the treatments that miss no run and was told apart from "
    )
