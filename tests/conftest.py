"""For every test: Hypothesis counts no milliseconds, since the machine is shared with real servers."""

from hypothesis import settings

# What stands before, such as Hypothesis's own choice under CI, is kept.
settings.register_profile("pooler", settings(), deadline=None)
settings.load_profile("pooler")
