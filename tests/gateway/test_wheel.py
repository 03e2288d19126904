"""The wheel: appointments a tick late at most, never early, and nothing left of who is gone."""

import asyncio
import gc
import weakref

from jobcast.gateway.engine.wheel import Due, Wheel

TICK = 0.01


class Item:
    def __init__(self, every: float | None = None) -> None:
        self.slot: set[Due] | None = None
        self.called: list[float] = []
        self.every = every

    def due(self, now: float) -> float | None:
        self.called.append(now)
        return None if self.every is None else now + self.every


async def test_many_appointments_are_kept_a_few_ticks_late_at_most_and_never_early() -> None:
    loop = asyncio.get_running_loop()
    wheel, start = Wheel(loop, TICK), loop.time()
    items = [(Item(), start + number / 5000) for number in range(1000)]
    for item, at in items:
        wheel.add(item, at)
    assert len(wheel) == 1000
    await asyncio.sleep(0.3)
    assert all(len(item.called) == 1 for item, _ in items)
    assert min(item.called[0] - at for item, at in items) >= 0
    assert max(item.called[0] - at for item, at in items) < 0.25
    assert len(wheel) == 0


async def test_an_item_that_answers_a_time_is_called_again_then() -> None:
    loop = asyncio.get_running_loop()
    wheel, item = Wheel(loop, TICK), Item(every=0.03)
    wheel.add(item, loop.time())
    await asyncio.sleep(0.3)
    wheel.forget(item)
    assert 4 <= len(item.called) <= 11
    assert all(later - earlier >= 0.03 for earlier, later in zip(item.called, item.called[1:], strict=False))


async def test_a_later_appointment_replaces_the_earlier_and_who_is_forgotten_is_not_kept() -> None:
    loop = asyncio.get_running_loop()
    wheel, item, gone = Wheel(loop, TICK), Item(), Item()
    wheel.add(item, loop.time() + 0.02)
    at = loop.time() + 0.1
    wheel.add(item, at)
    wheel.add(gone, loop.time() + 60)
    wheel.forget(gone)
    seen = weakref.ref(gone)
    del gone
    gc.collect()
    assert seen() is None
    await asyncio.sleep(0.2)
    assert len(item.called) == 1
    assert item.called[0] >= at


async def test_one_that_forgets_another_of_its_own_slot_keeps_it_from_being_called() -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop, TICK)

    class Killer(Item):
        other: "Killer"

        def due(self, now: float) -> float | None:
            wheel.forget(self.other)
            return super().due(now)

    one, two = Killer(), Killer()
    one.other, two.other = two, one
    at = loop.time() + 0.02
    wheel.add(one, at)
    wheel.add(two, at)
    await asyncio.sleep(0.1)
    assert len(one.called) + len(two.called) == 1
    later = Item()
    wheel.add(later, loop.time())
    await asyncio.sleep(0.1)
    assert len(later.called) == 1


async def test_one_that_raises_does_not_stop_the_wheel_for_the_others() -> None:
    loop = asyncio.get_running_loop()

    class Broken(Item):
        def due(self, _now: float) -> float | None:
            raise RuntimeError("a fault of the test's")

    wheel = Wheel(loop, TICK)
    others = [Item() for _ in range(20)]
    at = loop.time() + 0.02
    for item in (*others[:10], Broken(), *others[10:]):
        wheel.add(item, at)
    later = Item()
    wheel.add(later, at + 0.05)
    await asyncio.sleep(0.2)
    assert all(len(item.called) == 1 for item in (*others, later))
