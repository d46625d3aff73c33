"""The real API server answers as the one in memory that unit tests have; both are held to one table."""

import asyncio

import pytest
from kubernetes.aio.config import kube_config

from cluster.testcluster import Cluster
from eventually import eventually
from trialrun_operator.kube import Kube
from unit.apicontract import TABLE, Session, answers


@pytest.mark.usefixtures("crds")
@pytest.mark.parametrize("sequence", TABLE)
def test_it_keeps_the_contract(
    sequence: str, cluster: Cluster, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collected(path: str) -> None:
        eventually(lambda: cluster.api.get_if_there(path) is None, what=f"{path} is collected")

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(cluster.kubeconfig))

    async def ask() -> list[object]:
        kube = Kube(lambda _verb, _code: None)
        await kube.connect()
        try:
            return await answers(Session(kube, namespace, collected), TABLE[sequence])
        finally:
            await kube.close()

    assert asyncio.run(ask()) == [answer for _, answer in TABLE[sequence]]
