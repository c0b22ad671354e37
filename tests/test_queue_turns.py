from scorefield.queue.turns import Turns, Unit, Waiting


def waiting(job: str, client: str, count: int = 1, cost: float = 1.0, likeness: str = "") -> Waiting:
    units = [range(k, k + 1) for k in range(count)]
    return Waiting(job=job, client=client, model="m", likeness=likeness or job, units=units, cost=cost)


def taken(turns: Turns, most: int = 1) -> list[str]:
    order = []
    while units := turns.take(most):
        order.append("+".join(unit.job for unit in units))
    return order


def test_jobs_of_one_client_are_drawn_in_the_order_in_which_they_came() -> None:
    turns = Turns()
    for job in "abc":
        turns.add(waiting(job, "x"))
    assert taken(turns) == ["a", "b", "c"]


def test_a_client_with_many_outputs_does_not_keep_another_one_waiting() -> None:
    turns = Turns()
    turns.add(waiting("many", "x", count=4))
    turns.add(waiting("one", "y"))
    assert taken(turns) == ["many", "one", "many", "many", "many"]


def test_turns_go_by_the_work_and_not_by_the_number_of_outputs() -> None:
    turns = Turns()
    turns.add(waiting("film", "x", count=2, cost=3))
    turns.add(waiting("pictures", "y", count=4))
    assert taken(turns) == ["film", "pictures", "pictures", "pictures", "film", "pictures"]


def test_a_client_that_was_away_does_not_make_up_for_it() -> None:
    turns = Turns()
    turns.add(waiting("long", "x", count=4))
    turns.take(1)
    turns.take(1)
    turns.add(waiting("late", "y", count=3))
    order = taken(turns)
    assert sorted(order[:2]) == ["late", "long"], "it comes in at once, but only in turn"


def test_alike_outputs_of_several_clients_share_a_batch_up_to_the_most() -> None:
    turns = Turns()
    turns.add(waiting("a", "x", count=2, likeness="same"))
    turns.add(waiting("b", "y", likeness="other"))
    turns.add(waiting("c", "z", count=2, likeness="same"))
    assert turns.take(3) == [Unit("a", range(1)), Unit("a", range(1, 2)), Unit("c", range(1))]
    assert taken(turns, 3) == ["b", "c"]


def test_a_unit_larger_than_a_batch_is_drawn_whole() -> None:
    turns = Turns()
    turns.add(Waiting(job="a", client="x", model="m", likeness="", units=[range(5)], cost=1))
    assert turns.take(2) == [Unit("a", range(5))]


def test_a_job_that_was_removed_is_not_drawn() -> None:
    turns = Turns()
    turns.add(waiting("a", "x"))
    turns.add(waiting("b", "x"))
    assert turns.remove("a")
    assert not turns.remove("a")
    assert taken(turns) == ["b"]


def test_the_place_of_a_job_counts_what_ends_before_it_and_its_work() -> None:
    turns = Turns()
    turns.add(waiting("a", "x", count=3))
    turns.add(waiting("b", "y", count=1))
    place = turns.place("a")
    assert place is not None
    assert place.position == 1
    assert place.work == (("m", 1.0), ("m", 3.0))
    assert turns.place("unknown") is None


def test_clients_without_jobs_are_forgotten() -> None:
    turns = Turns()
    for k in range(100):
        turns.add(waiting(f"job {k}", f"client {k}"))
    taken(turns)
    assert not turns.given
    assert not turns.waiting
