"""Gives kopf its credentials: the service account in a pod, else the kubeconfig, as `kube` does."""

from typing import Any

import kopf


def register(registry: kopf.OperatorRegistry) -> None:
    """Has kopf log in by these credentials, and again when the API server has refused a token that has expired."""

    async def login(**arguments: Any) -> Any:
        return kopf.login_with_service_account(**arguments) or kopf.login_with_kubeconfig(**arguments)

    kopf.on.login(registry=registry)(login)
