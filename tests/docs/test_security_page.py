"""The manual's page on security says of each command who may type it within a round; what it and the page on boxes say was
tried is held by tests that there are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import click
from tinytown_cli.framework import TownGroup, make_root

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
_HEAD = "| Who | Commands |\n|---|---|\n"


def who_may() -> Mapping[str, str]:
    """Command -> who may type it, in the words of the page."""
    rows = PAGE.read_text().partition(_HEAD)[2].partition("\n\n")[0].splitlines()
    found: dict[str, str] = {}
    for row in rows:
        _, who, names, _ = row.split("|")
        for name in re.findall("`([^`]+)`", names):
            assert name not in found, name
            found[name] = who.strip()
    return found


def all_commands() -> Iterator[str]:
    """The commands of the installed distributions, without those that only have others below them."""
    root = make_root()
    yield from _below(root, click.Context(root, info_name="tt"), "")


def _below(group: click.Group, context: click.Context, words: str) -> Iterator[str]:
    for name in group.list_commands(context):
        command, path = group.get_command(context, name), f"{words} {name}".strip()
        if isinstance(command, TownGroup):
            yield from _below(command, click.Context(command, parent=context, info_name=name), path)
        elif command is not None:
            yield path


def test_the_page_says_of_each_command_who_may_type_it_within_a_round() -> None:
    missing, unknown = set(all_commands()) - who_may().keys(), who_may().keys() - set(all_commands())
    assert not missing, f"add these to the table of commands in docs/security.md: {sorted(missing)}"
    assert not unknown


#: The lines of the table on the page on boxes -> the tests that try from inside of a box what they say.
BOXES: Mapping[str, tuple[str, ...]] = {
    "writes outside of the workspace": (
        "test_nothing_outside_of_the_workspace_can_be_written",
        "test_a_link_in_the_workspace_leads_to_nothing_that_can_be_written",
        "test_a_hard_link_to_a_file_outside_cannot_be_made",
        "test_the_workspace_cannot_be_exchanged_for_a_link",
    ),
    "writes in the workspace with `read`": ("test_the_profile_read_leaves_the_workspace_as_it_is",),
    "`tinytown.toml`, `.git/config`, `.git/hooks`, the environment that the kernel runs from": (
        "test_settings_of_the_town_stay_as_they_are",
        "test_hooks_and_settings_of_git_cannot_be_planted",
        "test_the_programs_that_the_kernel_runs_from_cannot_be_changed",
    ),
    "the town's state, transcripts, other agents' directories": (
        "test_the_state_of_the_town_is_out_of_sight",
        "test_what_the_town_hides_is_neither_readable_nor_writable",
    ),
    "secrets of the [list](#out-of-sight)": ("test_secrets_of_the_person_are_out_of_sight",),
    "other processes: environment, signals, ptrace": (
        "test_no_process_outside_can_be_seen",
        "test_no_process_outside_can_be_ended_or_traced",
    ),
    "sockets of services (Docker, D-Bus, ssh-agent, X11)": (
        "test_services_of_the_machine_are_out_of_reach",
        "test_a_socket_that_somebody_listens_on_is_out_of_reach",
        "test_an_abstract_socket_is_out_of_reach",
    ),
    "the town's socket": ("test_a_box_has_the_socket_of_its_round_and_not_the_towns",),
    'network `"off"`': ("test_without_the_network_not_even_this_machine_is_reached",),
    "network as a list of hosts": ("test_a_list_of_hosts_lets_through_those_and_no_others",),
    "setuid programs, capabilities": ("test_a_setuid_program_gives_nothing", "test_no_right_can_be_gained"),
    "user namespaces, mounts": ("test_the_system_refuses",),
    "vsock, io_uring, bpf, perf, keyrings, typing into a terminal": (
        "test_system_calls_beside_the_namespaces_are_refused",
        "test_nothing_can_be_typed_into_a_terminal",
    ),
    "settings of the kernel in `/proc/sys`, when the town is run by root": (
        "test_no_setting_of_the_machine_can_be_written",
    ),
    "processes and memory": ("test_a_fork_bomb_ends_at_its_bound", "test_memory_ends_at_its_bound"),
    "size of files, of `/tmp`": ("test_a_file_ends_at_its_bound", "test_what_is_written_to_tmp_stays_in_the_box"),
    "processes left behind by a round": (
        "test_nothing_survives_the_command",
        "test_nothing_of_a_round_survives_it_or_its_kernel",
    ),
}

#: What the page on security says was tried -> the tests that try it.
REVIEW: Mapping[str, tuple[str, ...]] = {
    "mail from another, by the text of the message or its id": (
        "test_mail_comes_from_nobody_else_whatever_its_text_says",
    ),
    "the order for another's task, by its id": ("test_no_order_for_the_task_of_another_is_forged",),
    "events of the town, under an old name, with two types, or through a plugin's data": (
        "test_no_event_of_the_town_is_forged",
    ),
    "past the gates, by a verb that there is not": ("test_no_verb_of_its_own_completes_a_task_past_its_gates",),
    "fields of a task that decide who has it": ("test_no_field_of_a_task_is_set_that_is_not_for_editing",),
    "unreadable records, so that no list can be shown": ("test_a_task_that_nobody_could_read_is_refused",),
    "work for an agent with more rights: a hold that ends by itself, requeued or reopened tasks, requests sent together": (
        "test_what_a_confined_agent_adds_is_not_released_by_a_clock",
        "test_requests_that_arrive_together_are_no_way_around_the_comparison",
    ),
    "an agent with the supervisor's id, or a path for a name": (
        "test_a_conductor_spawns_nobody_whose_name_or_id_is_a_trick",
    ),
    "others' dead letters": ("test_dead_mail_of_others_is_not_shown",),
    "a request that claims to be huge, a round that asks for much and reads no reply": (
        "test_a_request_that_claims_to_be_huge_costs_its_own_connection_only",
        "test_a_round_that_reads_no_replies_fills_no_memory_of_the_server",
    ),
    "a request through the proxy that names another host than its URL": (
        "test_a_request_names_no_other_host_than_the_one_that_is_on_the_list",
    ),
    "the settings of another repository in place of the project's": (
        "test_another_repositorys_settings_cannot_be_put_in_place_of_these",
    ),
    "repositories of linked worktrees and submodules": (
        "test_repositories_of_linked_worktrees_and_submodules_stay_as_they_are",
    ),
    "a `bwrap` of the agent's own on the `PATH`": ("test_a_program_that_an_agent_put_on_the_path_makes_no_box",),
    "a pipe or a link in place of a log or a session": (
        "test_a_pipe_or_a_link_that_takes_the_place_of_a_log_is_not_written_to",
        "test_a_session_that_is_a_pipe_is_none",
    ),
    "a tampered snapshot": ("test_a_tampered_snapshot_is_refused_or_restored_whole",),
    "the server by its socket, without the town's key": (
        "test_a_server_lets_in_who_has_its_key_and_shows_the_key_to_nobody",
    ),
    "an agent with more rights, spawned to take what its conductor has put onto the backlog": (
        "test_requests_that_arrive_together_are_no_way_around_the_comparison",
    ),
    "links and pipes in place of files of git, through which the git of a person or of the kernel writes elsewhere": (
        "test_links_and_pipes_among_the_files_of_git_lead_nowhere",
        "test_a_link_that_git_would_write_through_is_refused",
    ),
    "characters that a terminal obeys, or that are invisible": (
        "test_no_text_reaches_the_terminal_raw_whatever_prints_it",
    ),
    "arguments of the town's tools that are huge, deep, of another type, or full of control characters": (
        "test_no_arguments_of_any_tool_end_the_server_or_are_a_fault_of_ours",
    ),
    "directories too deep for a clean-up to finish": (
        "test_a_directory_of_any_depth_is_removed",
        "test_the_last_change_in_it_is_found",
    ),
    "a lease on a file that the kernel reads, which would block it for 45 s": (
        "test_a_lease_on_a_file_holds_up_nobody",
    ),
    "a bus or a key agent that begins to listen after the box was made": (
        "test_a_bus_that_begins_to_listen_later_is_out_of_reach",
    ),
    "another box: its processes, their environment, ptrace": (
        "test_a_process_in_another_box_can_neither_be_seen_nor_traced",
    ),
    "a crash whose memory the system hands to a program outside": (
        "test_what_crashes_is_handed_to_no_program_of_the_system",
    ),
}


def test_each_attempt_that_the_page_names_is_a_test() -> None:
    assert first_column(PAGE, "| Attempt | Held by |") == list(REVIEW)
    assert absent(name for names in REVIEW.values() for name in names) == set()


def test_each_line_of_the_page_on_boxes_is_held_by_a_test() -> None:
    assert first_column(PAGE.with_name("sandbox.md"), "| | Linux, in a box |") == list(BOXES)
    assert all(BOXES.values())
    assert absent(name for names in BOXES.values() for name in names) == set()


def first_column(page: Path, head: str) -> list[str]:
    """The first cell of each row of the table that begins with `head`."""
    rows = page.read_text().partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip() for row in rows]


def absent(names: Iterable[str]) -> set[str]:
    """The tests of these names that there are not."""
    root = PAGE.parents[1]
    sources = [path.read_text() for each in ("tests", "plugins/*/tests") for path in root.glob(f"{each}/**/test_*.py")]
    return {name for name in names if not any(f"def {name}(" in source for source in sources)}
