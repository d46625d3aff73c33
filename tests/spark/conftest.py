"""Spark's tests need Java, which no Python package brings."""

import pytest

import debian


@pytest.fixture(scope="session", autouse=True)
def java() -> None:
    debian.require({"java": "default-jre-headless"}, "Spark")
