"""What the import of the package does to the interpreter: nothing that lasts."""

import gc

import pytest

from noprop_ode._importing import collector_paused


def test_the_collector_rests_during_an_import_and_is_left_as_it_was():
    assert gc.isenabled(), "after the import of the package"
    with pytest.raises(ImportError), collector_paused():
        assert not gc.isenabled()
        raise ImportError("of a module that is not there")
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled(), "a program that does without it goes on so"
    finally:
        gc.enable()
