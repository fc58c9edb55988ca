"""Earlier finds, each as the case that shows it: none may come back.

Numbers are those of the record of a hostile tester; what is not at one of the doors (full disks,
killed processes, floods) has its test elsewhere, as the README says.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from attrs import frozen

from tests.containment.case import Case


@frozen
class Find:
    """One case of a fault that was found once."""

    number: str
    case: Case
    still_open: str = ""
    """Why it is not mended yet; empty where it is."""


_CASES = """\
F4    client.fetch(task_id='said:xyz')
F4    client.fetch(task_id='said:01234567-89ab-cdef-0123-456789abcdef')
F4    client.submit(queue='none')
F4    client.submit(queue='text:40000')
F4    client.task(deadline='float:2e15')
F4    client.task(run_limit='float:1e300')
F4    client.task(max_attempts='int:9223372036854775808')
F4    client.config(many='int:1')
F4    client.task(task_type='text:40000')
F4    client.config(model='text:200000')
F4    client.inputs(key='text:40000')
F4    asyncio.task(deadline='float:2e15')
F4    http.body(deadline='1e300')
F4    http.body(run_limit='1e300')
F4    http.body(options='many:300')
F4    http.body(model='text:200000')
F4    http.body(task_type='text:200000')
F4    http.query(deadline='1e300')
F5    client.cancel(task='said:not an id')
F5    client.cancel(task='none')
F5    asyncio.cancel(task='none')
F5    client.ask(**{'a.task_id': 'float:nan'})
F5    client.ask(**{'a.task_id': 'bytes:16'})
F5    client.ask(**{'a.task_id': 'surrogate'})
F5    client.ask(**{'a.task_id': 'int:1208925819614629174706176'})
F5    client.ask(**{'a.task_id': 'deep:900'})
F5    client.callback(raised='raise:SystemExit')
F5    client.callback(raised='raise:KeyboardInterrupt')
F15   model.run(recipe='none', where='write-inputs')
F16   model.run(recipe='int:1101', where='many-outputs')
F16   model.run(recipe='text:90000', where='output-name')
F16   model.run(recipe='text:100000', where='error-code')
F16   model.run(recipe='float:0.5', where='progress-step')
F18   spec.function(recipe='said:64', where='needs.memory_mb')
F18   spec.function(recipe='power:400', where='run_seconds')
F18   spec.function(recipe='raise:SystemExit', where='needs')
F18   spec.function(recipe='raise:KeyboardInterrupt', where='batch_key')
F18   spec.function(recipe='raise:GeneratorExit', where='run_seconds')
F18   spec.function(recipe='raise:Untold', where='needs')
F18   spec.function(recipe='said:much', where='needs')
F18   spec.function(recipe='surrogate', where='batch_key')
F18   spec.function(recipe='float:nan', where='needs.memory_mb')
F18   spec.function(recipe='int:-1', where='needs.memory_mb')
F23   http.whole(body='deep:900')
F23   http.body(options='deep:900')
small model.run(recipe='surrogate', where='error-message')
small http.kind(kind='Application/JSON')
"""
_STILL_OPEN: Mapping[str, str] = MappingProxyType({})
"""By case, as it is written above: the test of it then expects that it fails."""


def _finds() -> Sequence[Find]:
    rows = (line.split(maxsplit=1) for line in _CASES.splitlines())
    return [Find(number, Case.parse(text), _STILL_OPEN.get(text, "")) for number, text in rows]


FINDS: Sequence[Find] = _finds()

ELSEWHERE: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "F1": ("a_full_disk_does_not_end_an_idle_journal_nor_use_its_ballast",),
        "F2": ("a_service_whose_journal_fails_ends_by_itself_with_status_1",),
        "F3": ("a_worker_goes_on_with_a_broker_that_was_killed_and_is_back_at_once",),
        "F6": ("an_answer_that_was_never_fetched_is_kept_for_its_user",),
        "F7": ("results_beyond_the_limit_are_left_with_the_broker_and_fetched_on_demand",),
        "F8": ("a_payload_file_that_shrinks_while_it_is_used_ends_no_process",),
        "F9": ("many_silent_connections_keep_nobody_out", "a_silent_connection_is_closed"),
        "F10": (
            "polls_that_were_left_and_polls_that_wait_keep_nobody_out",
            "a_body_that_trickles_is_given_up_on",
        ),
        "F11": ("a_submission_without_room_is_told_to_come_later_at_once",),
        "F12": (
            "another_key_is_told_of_a_task_what_it_is_told_of_one_that_there_is_not",
            "a_result_that_another_fetches_is_kept_as_promised",
            "an_id_made_of_an_idempotency_key_is_for_its_owner_alone",
        ),
        "F13": ("a_lease_is_not_claimed_by_another_key_in_the_name_of_its_worker",),
        "F14": ("refusals_are_all_counted_but_do_not_flood_the_log",),
        "F20": (
            "a_lock_that_was_given_up_is_free_while_a_forked_child_lives",
            "a_port_can_be_bound_again_while_a_forked_child_of_its_last_owner_lives",
        ),
        "F21": (
            "stopping_in_a_callback_is_refused_rather_than_for_ever",
            "a_manager_made_before_a_fork_works_in_the_child_and_one_started_says_why_not",
        ),
        "F24": ("a_task_that_waits_says_that_its_client_is_refused",),
        "F25": ("endings_are_recorded_while_submissions_stream_in",),
        "F26": ("tasks_are_sent_in_pages_the_next_as_the_last_is_answered",),
        "F27": ("a_node_waits_for_a_broker_that_is_there_and_does_not_answer",),
        "F29": ("a_large_payload_is_kept_in_the_database_where_no_file_can_be_made",),
    }
)
"""Finds that no odd value at a door shows, and the tests that do, by name without ``test_``."""
