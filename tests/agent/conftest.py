"""An agent of a test's own, behind the command line that ``fake_service`` runs."""

from collections.abc import Iterator
from pathlib import Path

import fake_service
import pytest
from agents import AgentPlace, agent_place

from penstock.pki.issue import issue, make_ca

LONG = {
    *("test_what_is_no_agent_of_ours_is_not_used", "test_a_second_signal_does_not_wait"),
    *("test_what_runs_goes_on_when_it_is_told_to_end", "test_declining_keeps_no_agent"),
    *("test_one_that_could_not_begin_is_not_started_again_at_once", "test_a_full_disk"),
    *("test_another_version_is_not_used_and_leaves_its_place", "test_which_python_runs_it"),
    *("test_shells_with_other_variables_have_an_agent_of_their_own", "test_stop_ends_it"),
    *("test_why_one_cannot_begin_is_told_and_it_is_not_tried_each_time",),
    *("test_what_an_agent_would_do_otherwise_is_not_its", "test_one_that_stands_still_is_named"),
    *("test_a_second_one_in_the_foreground_says_why_not", "test_one_that_talks_on_is_left"),
    *("test_an_agent_that_is_killed", "test_an_interrupt_of_an_agent_that_stands_still"),
    *("test_output_that_nobody_reads_ends_with_its_front_end", "test_it_stops_and_goes_on"),
    *(
        "test_the_directory_of_one_who_has_left_is_there_for_who_waits",
        "test_a_key_at_the_question",
    ),
    *("test_a_second_stop_and_an_interrupt_when_it_stands", "test_a_question_in_the_background"),
    *("test_the_passphrase_of_a_good_key_is_kept", "test_input_of_a_run_in_the_background"),
    *("test_a_key_at_the_question_for_a_passphrase", "test_what_is_no_socket_is_replaced"),
    *("test_reading_from_a_group_that_no_shell_could_continue", "test_a_terminal_that_is_closed"),
    *(
        "test_a_directory_in_which_others_could_put_a_socket",
        "test_with_few_descriptors_it_declines",
    ),
    *("test_lines_fit_the_terminals_width", "test_input_of_a_front_end_that_has_many_descriptors"),
}
"""Those of processes that begin and end one after another: tools/test --all runs them."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks LONG."""
    for item in items:
        if item.path.parent.name == "agent" and getattr(item, "originalname", "") in LONG:
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture
def encrypted(tmp_path: Path) -> dict[str, str]:
    """What names a client's files, of which the key needs a passphrase."""
    make_ca(tmp_path)
    issue(tmp_path, "alice", passphrase=b"the secret")
    return {
        "PENSTOCK_CERT": str(tmp_path / "alice.crt"),
        "PENSTOCK_KEY": str(tmp_path / "alice.key"),
    }
