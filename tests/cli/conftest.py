"""One suite over both ways: the program by itself, and its front end with an agent behind it.

Each test here that runs the command line against a server runs a second time through an agent:
those of QUICK always, the others with tools/test --all.
"""

from collections.abc import Iterator

import fake_service
import pytest
from agents import AgentPlace, agent_place

QUICK = {
    *("test_the_usual_ones", "test_closing_a_terminal_sends_several_hups_and_is_one"),
    "test_what_is_ignored_at_the_start_stays_ignored",
    *("test_a_signal_to_run_stops_the_job_and_a_second_one_detaches", "test_each_status"),
    *("test_a_restart_of_the_server_does_not_end_it", "test_json_stays_one_object_a_line"),
    *("test_our_input_is_the_jobs_once_its_output_is_followed", "test_each_change_is_a_line"),
    *("test_a_wait_goes_on_over_a_restart", "test_on_a_terminal_it_is_drawn_anew"),
    "test_send_says_how_much_there_is_in_all",
}
LONG = {
    *("test_interrupts_at_any_moment_break_nothing", "test_two_floods_share_the_terminal"),
    *("test_a_further_signal_waits_for_nothing", "test_a_narrow_window_shows_what_fits"),
    *("test_a_start_under_way_is_not_lost_as_the_shell_is_left", "test_many_lines_are_pasted"),
    *("test_a_crash_of_the_shell_gives_the_terminal_back", "test_each_step_that_fails"),
    *("test_colours_are_none_where_they_are_not_wanted", "test_json_of_each"),
    *("test_a_server_that_does_not_answer_keeps_no_key_waiting",),
    *("test_a_verb_that_takes_the_whole_screen_gives_it_back", "test_a_context_that_works"),
    *("test_figures_that_are_no_numbers", "test_a_name_like_a_template_is_a_name"),
    *("test_what_we_say_to_type_next_goes_to_the_same_server", "test_a_stopped_shell_goes_on"),
    *(
        "test_many_lines_leave_no_descriptor_and_no_object",
        "test_a_wrong_passphrase_is_said_at_once",
    ),
    *("test_a_beginning_of_more_names_than_are_looked_at_is_none", "test_following_by_a_name"),
}
"""Both ways with tools/test --all alone, because they take long."""
BY_OTHERS = {
    *("test_completion", "test_completion_in_shells", "test_invocations", "test_top"),
    "test_parsing_without_a_loop",
}
"""Modules whose command lines are run by something else than ``FakeServer.cli``, or by no agent."""
PLAIN_ALONE = {
    "test_characters_that_the_encoding_lacks_are_escapes",  # an agent writes UTF-8 alone
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Both ways for each test of a module that has a server."""
    module = metafunc.module
    if not hasattr(module, "fake_server") or module.__name__.split(".")[-1] in BY_OTHERS:
        return
    name = metafunc.function.__name__
    ways = [pytest.param("plain", marks=[pytest.mark.slow] * (name in LONG))]
    if name not in PLAIN_ALONE:
        marks = () if name in QUICK else (pytest.mark.slow,)
        ways.append(pytest.param("agent", marks=marks))
    metafunc.parametrize("way", ways, indirect=True, scope="module")


running: list[AgentPlace] = []


@pytest.fixture(autouse=True)
def _no_other_agents() -> Iterator[None]:
    """One for another context that a test names begins by itself, and ends with the test."""
    yield
    for place in running:
        place.end_begun()


@pytest.fixture(scope="module", autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """How ``fake_service.FakeServer`` runs the command line in this test."""
    if getattr(request, "param", "plain") == "plain":
        yield
        return
    with agent_place() as place:
        place.begin()
        fake_service.WAY.command = (str(place.program),)
        fake_service.WAY.environment = place.environment()
        running.append(place)
        try:
            yield
            # Whatever the tests have met, all of them have met the one agent.
            assert place.process is not None
            assert place.process.poll() is None
            assert not place.log.exists(), place.log.read_text()
        finally:
            running.clear()
            fake_service.WAY.command, fake_service.WAY.environment = fake_service.PLAIN, {}
