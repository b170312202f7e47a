"""Settings for all tests."""

from hypothesis import settings

# These machines are shared: how long an example takes says nothing.
settings.register_profile("staircase", deadline=None)
settings.load_profile("staircase")
