"""Errors that are the user's to mend: printed as one message, without a traceback."""


class HeartError(Exception):
    """Something that the user can mend. `status` is the exit status."""

    status = 1


class ConfigError(HeartError):
    """A wrong option, environment variable or argument."""

    status = 2


def nearest(word, candidates):
    """The candidate that `word` was probably meant to be, or None. Of those that are equally near, letters that have
    changed places are the likeliest mistake."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(candidates))
    return next((near for near in found if sorted(near) == sorted(word)), found[0] if found else None)


def nearest_flag(word, flags):
    """The flag that `word` was probably meant to be, or None: of "-p" the first one with this letter."""
    if len(word) == 2:
        return next((flag for flag in flags if flag.startswith("-" + word)), None)
    return nearest(word, flags)
