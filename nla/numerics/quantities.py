"""What people write: sizes and times -> bytes and seconds, and back; a name -> the nearest of the valid ones."""

import difflib
import re

SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def size_of(text):
    """Bytes, of a number of them such as 20000000000 or 20GB; None of what is no such number."""
    match = re.fullmatch(r"(\d+\.?\d*) *([KMGT]?)B?", text.upper())
    return match and int(float(match[1]) * 1000 ** " KMGT".index(match[2] or " "))


def seconds_of(text):
    """Seconds, of a time such as 600, 90s, 20m, 12h or 2d; None of what is no such time."""
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) *([smhd]?)", text.lower())
    return match and float(match[1]) * SECONDS[match[2]]


def size(count):
    """A number of bytes as people say it."""
    units = ["bytes", "kB", "MB", "GB"]
    while count >= 999.5 and units[1:]:
        count, _ = count / 1000, units.pop(0)
    return f"{count:,.0f} {units[0]}" if count >= 99.5 else f"{count:.3g} {units[0]}"


def unknown(what, name, choices):
    """One line that names the nearest of the valid choices."""
    choices = [str(c) for c in choices]
    near = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    shown = choices if len(choices) <= 12 else [*choices[:6], "...", *choices[-3:]]
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose from {', '.join(shown)}"
    return f"unknown {what} {str(name)!r}: {hint}"
