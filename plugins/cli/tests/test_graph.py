"""The order of work: waves hold everything once, each behind what it needs; circles are found and are circles."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings, strategies as st
from tinytown_cli.graph import find_cycle, stages

#: The same examples every day, on a machine that may be busy.
QUICK = settings(deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))

#: Any graph of up to eight tasks, circles included.
graphs = st.integers(1, 8).flatmap(
    lambda size: st.fixed_dictionaries(
        {f"t{number}": st.lists(st.sampled_from([f"t{i}" for i in range(size)]), max_size=3) for number in range(size)}
    )
)


def test_tasks_of_a_stage_keep_the_order_of_the_plan() -> None:
    needs = {"docs": ["api"], "api": ["model"], "model": [], "logo": [], "release": ["docs", "logo"]}
    assert stages(needs) == (("model", "logo"), ("api",), ("docs",), ("release",))
    assert stages({}) == ()
    assert find_cycle(needs) == ()


@QUICK
@given(graphs)
def test_a_task_is_in_the_stage_after_its_last_need(needs: dict[str, list[str]]) -> None:
    computed = stages(needs)
    place = {id_: number for number, wave in enumerate(computed) for id_ in wave}
    assert sum(map(len, computed)) == len(place)
    for id_, number in place.items():
        assert number == max((place[need] + 1 for need in needs[id_]), default=0)
    assert (len(place) < len(needs)) == bool(find_cycle(needs))


@QUICK
@given(graphs)
def test_a_found_cycle_is_a_cycle(needs: dict[str, list[str]]) -> None:
    circle = find_cycle(needs)
    for id_, following in zip(circle, circle[1:] + circle[:1], strict=True):
        assert following in needs[id_]
    assert len(set(circle)) == len(circle)
