"""Settings of the whole test session. No fixtures: those are with the tests that use them."""

from hypothesis import settings

# Property tests touch files and large integers: a busy machine must not fail them by the clock.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
