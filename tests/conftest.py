"""Settings of the whole test session. No fixtures: those are with the tests that use them."""

import logging
import os

from hypothesis import settings
from hypothesis.internal.conjecture import providers

# Property tests touch files and large integers: a busy machine must not fail them by the clock.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("fresh", deadline=None, derandomize=False, max_examples=1000, print_blob=True)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "same")
settings.load_profile(PROFILE)

if PROFILE == "same":
    # Else it also draws numbers that stand in the modules loaded so far, so that what a test draws would
    # depend on which tests were chosen, and on those that a worker happened to run before.
    providers._get_local_constants = providers.Constants  # type: ignore[attr-defined]


def pytest_runtest_setup() -> None:
    """What a test told a controller in this process about its log level is not the next test's."""
    logging.getLogger("bollard").setLevel(logging.NOTSET)
