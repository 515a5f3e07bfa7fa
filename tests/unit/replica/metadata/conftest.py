"""Property tests here touch files and large integers: a busy machine must not fail them by the clock."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
