"""An agent of a test's own, behind the command line that ``fake_service`` runs."""

from collections.abc import Iterator

import fake_service
import pytest
from agents import AgentPlace, agent_place


@pytest.fixture
def place() -> Iterator[AgentPlace]:
    """Where an agent may begin; none has."""
    with agent_place() as place:
        fake_service.WAY.command = (str(place.program),)
        fake_service.WAY.environment = place.environment()
        try:
            yield place
        finally:
            fake_service.WAY.command, fake_service.WAY.environment = fake_service.PLAIN, {}


@pytest.fixture
def agent(place: AgentPlace) -> AgentPlace:
    """One that listens."""
    place.begin()
    return place
