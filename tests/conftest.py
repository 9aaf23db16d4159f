from hypothesis import settings

# A busy machine is no failed test; pytest-timeout ends what really hangs.
settings.register_profile("lab", deadline=None)
settings.load_profile("lab")
