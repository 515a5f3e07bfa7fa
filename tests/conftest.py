"""Settings of the whole test session. No fixtures: those are with the tests that use them."""

import logging

from hypothesis import settings

# Property tests touch files and large integers: a busy machine must not fail them by the clock.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_runtest_setup() -> None:
    """What a test told a controller in this process about its log level is not the next test's."""
    logging.getLogger("bollard").setLevel(logging.NOTSET)
