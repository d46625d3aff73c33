"""The API server in memory answers as the real one does; `cluster/test_apicontract` asks that one the same."""

import asyncio

import pytest

from trialrun_operator.kube import Refused
from trialrun_operator.names import CONFIG_MAPS, PODS
from unit.apicontract import TABLE, Session, answers
from unit.builders import START
from unit.fakekube import FakeApi, FakeKube


@pytest.mark.parametrize("sequence", TABLE)
def test_it_keeps_the_contract(sequence: str) -> None:
    api = FakeApi(lambda: START)
    session = Session(FakeKube(api), "here", collect=lambda _: api.collect())
    found = asyncio.run(answers(session, TABLE[sequence]))
    assert found == [answer for _, answer in TABLE[sequence]]


def test_a_list_that_takes_too_long_is_gone_and_can_be_begun_again() -> None:
    api = FakeApi(lambda: START)
    for number in range(501):
        api.ask("POST", CONFIG_MAPS.path("here"), {"kind": "ConfigMap", "metadata": {"name": f"{number:03d}"}})

    async def pages(*, expires: bool) -> list[int]:
        found = []
        async for page, _ in FakeKube(api).pages(CONFIG_MAPS, "here"):
            found.append(len(page))
            if expires:
                api.expire()
        return found

    with pytest.raises(Refused, match="410 Expired"):
        asyncio.run(pages(expires=True))
    assert asyncio.run(pages(expires=False)) == [500, 1]


def test_watches_tell_of_every_change_in_its_order_and_of_what_is_deleted_as_it_was_last() -> None:
    api = FakeApi(lambda: START)
    api.ask("POST", PODS.path("here"), {"kind": "Pod", "metadata": {"name": "one"}, "spec": {}})
    api.ask("PATCH", f"{PODS.path('here', 'one')}/status", {"status": {"phase": "Failed"}})
    api.ask("DELETE", PODS.path("here", "one"))
    told = [(each["type"], each["object"]["status"]["phase"]) for each in api.events]
    assert told == [("ADDED", "Pending"), ("MODIFIED", "Failed"), ("DELETED", "Failed")]
    assert [each["object"]["metadata"]["resourceVersion"] for each in api.events] == ["1", "2", "3"]
