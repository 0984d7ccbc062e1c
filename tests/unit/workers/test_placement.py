from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.config.model import PlacementConfig
from flambeau.workers.cores import Core
from flambeau.workers.placement import Assignment, Placement, WantedWorker, default_workers

AUTOMATIC = PlacementConfig()


def placement(n_cores, usable=None):
    """A machine with ``n_cores`` cores of two hyper-threads, numbered as Linux does."""
    cores = [Core((number, number + n_cores)) for number in range(n_cores)]
    return Placement(cores, n_cores if usable is None else usable)


def workers(count, config=AUTOMATIC, first_id=9000, on_gpu=False):
    return [
        WantedWorker(worker_id=first_id + index, config=config, index=index, on_gpu=on_gpu) for index in range(count)
    ]


def cores_of(plan):
    return [assignment.cores for assignment in plan.values()]


def threads_of(plan):
    return [assignment.threads for assignment in plan.values()]


# --- shares ------------------------------------------------------------------------------------------------------


def test_cores_are_divided_by_workers_and_each_has_its_own():
    assert placement(8).plan(workers(4)) == {
        9000: Assignment((0, 1), 2),
        9001: Assignment((2, 3), 2),
        9002: Assignment((4, 5), 2),
        9003: Assignment((6, 7), 2),
    }


def test_cores_that_do_not_divide_go_one_each_to_the_first():
    plan = placement(8).plan(workers(3))
    assert threads_of(plan) == [3, 3, 2]
    assert cores_of(plan) == [(0, 1, 2), (3, 4, 5), (6, 7)]


def test_workers_that_do_not_fit_have_one_thread_and_share_all_cores():
    plan = placement(2).plan(workers(3))
    assert threads_of(plan) == [1, 1, 1]
    assert cores_of(plan) == [(0, 1)] * 3


def test_one_thread_per_core_leaves_the_other_hyper_thread_alone():
    assert placement(2).plan(workers(1)) == {9000: Assignment((0, 1), 2)}


def test_nothing_wanted_nothing_planned():
    assert placement(2).plan([]) == {}


def test_threads_of_one_model_are_taken_from_the_share_of_the_others():
    six = workers(1, PlacementConfig(threads=6))
    rest = workers(2, first_id=9001)
    assert threads_of(placement(8).plan([*six, *rest])) == [6, 1, 1]


def test_threads_that_exceed_the_machine_are_given_as_asked():
    assert placement(2).plan(workers(1, PlacementConfig(threads=5))) == {9000: Assignment((0, 1), 5)}


# --- named cores -------------------------------------------------------------------------------------------------


def test_named_cores_are_taken_in_turn_and_as_given():
    config = PlacementConfig(cores=((5, 6, 7), (1,)))
    plan = placement(8).plan(workers(3, config))
    assert plan == {
        9000: Assignment((5, 6, 7), 3),
        9001: Assignment((1,), 1),
        9002: Assignment((5, 6, 7), 3),
    }


def test_others_avoid_named_cores_and_their_hyper_threads():
    named = workers(1, PlacementConfig(cores=((9,),)))  # the second hyper-thread of core 1
    plan = placement(8).plan([*named, *workers(2, first_id=9001)])
    assert plan[9000] == Assignment((9,), 1)
    assert cores_of(plan)[1:] == [(2, 3, 4, 5), (0, 6, 7)]


def test_workers_that_do_not_fit_beside_named_cores_share_those_that_are_free():
    named = workers(1, PlacementConfig(cores=((0, 1),)))
    plan = placement(4).plan([*named, *workers(3, first_id=9001)])
    assert cores_of(plan)[1:] == [(2, 3)] * 3


def test_named_cores_are_shared_when_nothing_else_is_left():
    named = workers(1, PlacementConfig(cores=((0, 1),)))
    plan = placement(2).plan([*named, *workers(1, first_id=9001)])
    assert plan[9001] == Assignment((0, 1), 1)


def test_threads_can_be_set_beside_named_cores():
    config = PlacementConfig(cores=((0, 1),), threads=4)
    assert placement(2).plan(workers(1, config)) == {9000: Assignment((0, 1), 4)}


# --- no pinning --------------------------------------------------------------------------------------------------


def test_without_pinning_threads_are_still_shared_out():
    config = PlacementConfig(pin_cores=False, cores=((0,),))
    assert set(placement(4).plan(workers(2, config)).values()) == {Assignment((), 2)}


def test_worker_on_a_gpu_has_a_share_of_threads_and_no_cores_of_its_own():
    plan = placement(8).plan([*workers(1, on_gpu=True), *workers(1, first_id=9001)])
    assert plan == {9000: Assignment((), 4), 9001: Assignment((0, 1, 2, 3), 4)}


def test_worker_on_a_gpu_is_pinned_where_its_model_names_cores():
    config = PlacementConfig(cores=((2, 3),))
    assert placement(8).plan(workers(1, config, on_gpu=True)) == {9000: Assignment((2, 3), 2)}


def test_under_a_quota_threads_follow_the_quota_and_no_cores_are_chosen():
    assert set(placement(8, usable=4).plan(workers(2)).values()) == {Assignment((), 2)}


def test_named_cores_are_respected_under_a_quota():
    config = PlacementConfig(cores=((5,),))
    assert placement(8, usable=1).plan(workers(1, config)) == {9000: Assignment((5,), 1)}


# --- from plan to plan -------------------------------------------------------------------------------------------


def test_new_worker_leaves_the_others_where_they_are_while_there_is_room():
    machine, config = placement(8), PlacementConfig(threads=2)
    before = machine.plan(workers(3, config))
    after = machine.plan(workers(4, config))
    assert {worker_id: after[worker_id] for worker_id in before} == before
    assert after[9003] == Assignment((6, 7), 2)


def test_worker_that_goes_leaves_its_cores_to_the_next():
    machine, config = placement(6), PlacementConfig(threads=2)
    first, second, third = workers(3, config)
    machine.plan([first, second, third])
    machine.plan([first, third])
    fourth = WantedWorker(worker_id=9003, config=config, index=2)
    assert machine.plan([first, third, fourth]) == {
        9000: Assignment((0, 1), 2),
        9002: Assignment((4, 5), 2),
        9003: Assignment((2, 3), 2),
    }


def test_growing_worker_takes_the_cores_next_to_its_own():
    machine = placement(8)
    machine.plan(workers(4))
    assert cores_of(machine.plan(workers(4)[1:3])) == [(0, 1, 2, 3), (4, 5, 6, 7)]


def test_workers_get_cores_of_their_own_again_once_they_fit():
    machine = placement(2)
    machine.plan(workers(3))
    assert cores_of(machine.plan(workers(2))) == [(0,), (1,)]


# --- properties --------------------------------------------------------------------------------------------------


@st.composite
def wanted_workers(draw, n_cores):
    """Workers of up to four models with any placement settings."""
    core_set = st.lists(st.integers(0, 2 * n_cores - 1), min_size=1, max_size=3, unique=True).map(tuple)
    configs = st.builds(
        PlacementConfig,
        threads=st.none() | st.integers(1, 4),
        pin_cores=st.booleans(),
        cores=st.none() | st.lists(core_set, min_size=1, max_size=3).map(tuple),
    )
    wanted = []
    for _ in range(draw(st.integers(1, 4))):
        wanted += workers(draw(st.integers(0, 4)), draw(configs), 9000 + len(wanted), draw(st.booleans()))
    return wanted


@st.composite
def machines_and_workers(draw):
    n_cores = draw(st.integers(1, 12))
    return n_cores, draw(wanted_workers(n_cores))


@given(machines_and_workers())
def test_every_worker_is_placed_once_with_a_thread_at_least_on_cores_that_exist(case):
    n_cores, wanted = case
    plan = placement(n_cores).plan(wanted)
    assert sorted(plan) == [worker.worker_id for worker in wanted]
    assert all(assignment.threads >= 1 for assignment in plan.values())
    assert all(cpu < 2 * n_cores for assignment in plan.values() for cpu in assignment.cores)


@given(machines_and_workers())
def test_what_a_model_says_is_done(case):
    n_cores, wanted = case
    plan = placement(n_cores).plan(wanted)
    for worker in wanted:
        assignment, config = plan[worker.worker_id], worker.config
        assert config.threads in (None, assignment.threads)
        if not config.pin_cores:
            assert assignment.cores == ()
        elif config.cores:
            assert assignment.cores == config.cores[worker.index % len(config.cores)]


@given(machines_and_workers())
def test_chosen_cores_are_a_workers_own_or_shared_by_all_chosen(case):
    n_cores, wanted = case
    plan = placement(n_cores).plan(wanted)
    chosen = [plan[worker.worker_id] for worker in wanted if worker.needs_cores]
    uses = Counter(core for assignment in chosen for core in assignment.cores)
    named = {cpu % n_cores for worker in wanted for cpu in worker.given_cores or ()}
    if sum(assignment.threads for assignment in chosen) <= n_cores - len(named):
        assert all(count == 1 for count in uses.values())
        assert all(len(assignment.cores) == assignment.threads for assignment in chosen)
    else:
        assert all(count == len(chosen) for count in uses.values())


@given(machines_and_workers())
def test_named_cores_are_left_alone_while_others_are_free(case):
    n_cores, wanted = case
    plan = placement(n_cores).plan(wanted)
    named = {cpu % n_cores for worker in wanted for cpu in worker.given_cores or ()}
    if len(named) < n_cores:
        assert all(named.isdisjoint(plan[worker.worker_id].cores) for worker in wanted if worker.needs_cores)


@given(n_cores=st.integers(1, 12), count=st.integers(1, 16))
def test_automatic_workers_use_every_core_and_oversubscribe_only_when_there_are_too_many(n_cores, count):
    plan = placement(n_cores).plan(workers(count))
    assert {core for cores in cores_of(plan) for core in cores} == set(range(n_cores))
    assert sum(threads_of(plan)) == max(n_cores, count)
    assert max(threads_of(plan)) - min(threads_of(plan)) <= 1


@given(n_cores=st.integers(1, 12), threads=st.lists(st.none() | st.integers(1, 4), min_size=1))
def test_threads_exceed_the_cores_only_where_they_must(n_cores, threads):
    wanted = [
        WantedWorker(worker_id=number, config=PlacementConfig(threads=count)) for number, count in enumerate(threads)
    ]
    least = sum(count or 1 for count in threads)
    assert sum(threads_of(placement(n_cores).plan(wanted))) <= max(n_cores, least)


@given(n_cores=st.integers(1, 12), changes=st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_scaling_never_makes_two_workers_trade_cores(n_cores, changes):
    """Whoever stays keeps the cores it had when it gives some up, and keeps all it had when it gets more."""
    machine = placement(n_cores)
    running = workers(1)
    before = machine.plan(running)
    for step, change in enumerate(changes):
        grows = change % 2 == 0 or len(running) == 1
        if grows:
            running = [*running, *workers(1, first_id=9001 + step)]
        else:
            running = [worker for worker in running if worker is not running[change % len(running)]]
        after = machine.plan(running)
        both_fit = max(len(before), len(after)) <= n_cores
        for worker_id in before.keys() & after.keys():
            had, has = set(before[worker_id].cores), set(after[worker_id].cores)
            assert not both_fit or (has <= had if grows else has >= had)
        before = after


@given(
    n_cores=st.integers(1, 12),
    threads=st.integers(1, 3),
    count=st.integers(1, 6),
    gone=st.sets(st.integers(0, 5)),
)
def test_workers_whose_threads_are_set_stay_where_they_are(n_cores, threads, count, gone):
    config = PlacementConfig(threads=threads)
    machine = placement(n_cores)
    before = machine.plan(workers(count, config))
    staying = [worker for worker in workers(count, config) if worker.index not in gone]
    after = machine.plan(staying)
    if count * threads <= n_cores:
        assert after == {worker.worker_id: before[worker.worker_id] for worker in staying}


@given(machines_and_workers())
def test_planning_the_same_again_changes_nothing_and_order_does_not_matter(case):
    n_cores, wanted = case
    machine = placement(n_cores)
    plan = machine.plan(wanted)
    assert machine.plan(wanted[::-1]) == plan
    assert placement(n_cores).plan(wanted[::-1]) == plan


# --- how many workers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("models", "usable", "threads", "count"),
    [(1, 8, None, 8), (2, 8, None, 4), (3, 8, None, 2), (1, 8, 3, 2), (2, 8, 4, 1), (9, 8, None, 1), (1, 1, 4, 1)],
)
def test_default_workers_fill_the_cores_without_oversubscription(models, usable, threads, count):
    assert default_workers(models, usable, threads) == count
