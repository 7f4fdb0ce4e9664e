"""Works of several callers in one commit: nobody waits alone, and everybody gets their own."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from memory_service.storage import commits
from memory_service.storage.commits import GroupCommit


class Recorder:
    """Answers each number with its double; notes the groups, and can be held up."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.lock = threading.RLock()
        self.group = GroupCommit(self.lock, self.commit)

    def commit(self, works: Sequence[int]) -> list[int]:
        self.groups.append(list(works))
        self.entered.release()
        assert self.open.wait(20)
        if -1 in works:
            raise ValueError("the disk broke")
        return [2 * work for work in works]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def held_up(recorder: Recorder, pool: ThreadPoolExecutor, *callers: list[int]) -> list:
    """All `callers` behind a first one that is committing; returns what they will get."""
    recorder.open.clear()
    waiting = [pool.submit(recorder.group.do, [0])]
    assert recorder.entered.acquire(timeout=20)
    for works in callers:
        before = len(recorder.group._waiting)
        waiting.append(pool.submit(recorder.group.do, works))
        while len(recorder.group._waiting) == before:  # in the order given
            threading.Event().wait(0.001)
    recorder.open.set()
    return waiting


def test_a_lone_caller_is_a_group(recorder: Recorder) -> None:
    assert recorder.group.do([1, 2]) == [2, 4]
    assert recorder.group.do([3]) == [6]
    assert recorder.groups == [[1, 2], [3]]


def test_those_that_wait_are_one_group(recorder: Recorder) -> None:
    with ThreadPoolExecutor(8) as pool:
        first, *rest = held_up(recorder, pool, [1], [2, 3], [4])
        assert first.result() == [0]
        assert [each.result() for each in rest] == [[2], [4, 6], [8]]
    assert recorder.groups == [[0], [1, 2, 3, 4]]


def test_a_group_has_an_end(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "MOST_TOGETHER", 3)
    with ThreadPoolExecutor(8) as pool:
        waiting = held_up(recorder, pool, [1], [2], [3, 4], [5, 6, 7, 8])
        assert [each.result() for each in waiting[3:]] == [[6, 8], [10, 12, 14, 16]]
    # What is larger than a group goes alone.
    assert recorder.groups == [[0], [1, 2], [3, 4], [5, 6, 7, 8]]


def test_a_failure_is_told_to_its_group_and_the_next_goes_on(recorder: Recorder) -> None:
    with ThreadPoolExecutor(8) as pool:
        first, *rest = held_up(recorder, pool, [-1], [2])
        assert first.result() == [0]
        for each in rest:
            with pytest.raises(ValueError, match="the disk broke"):
                each.result()
    assert recorder.group.do([3]) == [6]


def test_who_holds_the_lock_goes_first(recorder: Recorder) -> None:
    with ThreadPoolExecutor(8) as pool:
        with recorder.lock:
            waiting = [pool.submit(recorder.group.do, [number]) for number in range(4)]
            while len(recorder.group._waiting) < 4:
                threading.Event().wait(0.001)
            assert not recorder.groups
        assert sorted(each.result()[0] for each in waiting) == [0, 2, 4, 6]
    assert len(recorder.groups) == 1  # taken once the lock was there


def test_many_threads_many_times(recorder: Recorder) -> None:
    def work(number: int) -> bool:
        return all(recorder.group.do([number + n]) == [2 * (number + n)] for n in range(50))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(0, 800, 100)))
    assert sum(map(len, recorder.groups)) == 400


class Interrupted(BaseException):
    """As KeyboardInterrupt, which would stop the tests."""


class InterruptedOnce:
    """A lock that the first caller is interrupted at; so late that others wait behind it."""

    def __init__(self) -> None:
        self.waited_for = threading.Event()
        self.go = threading.Event()
        self.first = True

    def __enter__(self) -> None:
        if self.first:
            self.first = False
            self.waited_for.set()
            assert self.go.wait(20)
            raise Interrupted

    def __exit__(self, *_: object) -> None:
        pass


def test_a_leader_that_is_interrupted_hands_over(recorder: Recorder) -> None:
    lock = InterruptedOnce()
    group = GroupCommit(lock, recorder.commit)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(group.do, [1])
        assert lock.waited_for.wait(20)
        rest = [pool.submit(group.do, [number]) for number in (2, 3)]
        while len(group._waiting) < 3:
            threading.Event().wait(0.001)
        lock.go.set()
        with pytest.raises(Interrupted):
            first.result(20)
        assert [each.result(20) for each in rest] == [[4], [6]]
    assert group.do([4]) == [8]
    assert 1 not in [work for works in recorder.groups for work in works]


def test_who_is_interrupted_while_it_waits_leads_nobody(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Event(threading.Event):
        """Interrupts the second caller: it waits behind the first."""

        def wait(self, timeout: float | None = None) -> bool:
            if threading.current_thread().name == "interrupted":
                raise Interrupted
            return super().wait(timeout)

    raised: list[BaseException] = []

    def interrupted() -> None:
        try:
            recorder.group.do([1])
        except Interrupted as error:
            raised.append(error)

    with ThreadPoolExecutor(8) as pool:
        recorder.open.clear()
        first = pool.submit(recorder.group.do, [0])
        assert recorder.entered.acquire(timeout=20)
        monkeypatch.setattr(commits.threading, "Event", Event)
        thread = threading.Thread(target=interrupted, name="interrupted")
        thread.start()
        thread.join(20)
        monkeypatch.undo()
        assert raised
        recorder.open.set()
        assert first.result(20) == [0]
        assert pool.submit(recorder.group.do, [2]).result(20) == [4]
    assert recorder.groups == [[0], [2]]
