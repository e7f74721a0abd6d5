"""Commands and Python's collector of reference cycles."""

import gc

from noprop_ode.experiment._collector import collect_less_often
from noprop_ode.experiment._main import guarded


def test_a_command_is_not_held_up_by_what_was_imported():
    before = gc.get_threshold()
    try:
        gc.unfreeze()
        gc.set_threshold(700, 10, 10)
        collect_less_often.cache_clear()
        during = []
        guarded(lambda: during.append((gc.get_freeze_count(), gc.get_threshold()[0])))
        (frozen, threshold) = during[0]
        assert frozen > 10_000 and threshold > 700
        gc.unfreeze()
        guarded(lambda: during.append((gc.get_freeze_count(), gc.get_threshold()[0])))
        assert during[1] == (0, threshold), "once a process"
        cycle = [[]]
        cycle[0].append(cycle)
        del cycle
        assert gc.collect() > 0, "cycles are found as before"
    finally:
        gc.freeze()
        gc.set_threshold(*before)
