"""The listing has a line for every task and mixture."""

import pytest

from tlm_jax.data import tasks
from tlm_jax.data.listing import listing
from tlm_jax.data.sources import ListSource


@pytest.fixture
def listed_tasks():
    source = ListSource({"train": [{"id": "a", "inputs": "b", "targets": "c"}]})
    for name in ("listed_one", "listed_two"):
        tasks.register_task(name, source, description="made for a test")
    tasks.register_mixture("listed_mixture", {"listed_one": 3, "listed_two": 1})
    yield
    for name in ("listed_mixture", "listed_one", "listed_two"):
        tasks.unregister(name)


@pytest.mark.usefixtures("listed_tasks")
def test_the_listing_has_every_task():
    rows = {name: others for name, *others in listing()}
    assert rows["listed_one"] == ["task", "train", "made for a test"]
    assert rows["listed_mixture"][0] == "mixture"
    assert rows["listed_mixture"][1] == "listed_one 3, listed_two 1"
