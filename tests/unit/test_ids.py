"""Files that were written for version 0.1 give the ids that it gave them: its ledgers stay readable and count."""

from pathlib import Path

import pytest

from trainer.experiment.expand import expand
from trainer.experiment.load import read

FILES = Path(__file__).parents[1] / "data" / "of_0_1"
SEARCH = (
    "395686d317 3b5ddef809 f7ca56ff1d de3012141c b2a86bbcc3 6d1930e104 e3de72d9bc e0b8b50990 1017bd9fd9 "
    "232815e28c e115c7e112 9bb0fa8913 8bc8cee27c 7ddefca51f 4179a278ee 5e1cc10c18 0b6439bfd2 acf793adbe"
)
SCALE_TEST = (
    "2d6ccad8e9 6e83b7ace2 8808b372f6 ffffe10ec9 da32ea874a d58f28f741 c1c3dd75fa 188c75e72f 23b25b7bce 1aa5d8fd47"
)


@pytest.mark.parametrize(("file", "ids"), [("search.yaml", SEARCH), ("scaletest.yaml", SCALE_TEST)])
def test_an_example_of_version_0_1_gives_its_ids(file: str, ids: str) -> None:
    assert [trial.id for trial in expand(read(FILES / file))] == ids.split()
