"""Memory and processors that a container (a control group of Linux) grants this process; None on other systems.

/proc shows a program the whole machine's memory and processors, whatever its container was granted.
"""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def free_bytes():
    """Bytes of memory that the tightest of the groups around this process has left, or None without a limit.

    Used memory counts without the file pages that the kernel frees at once when memory gets short.
    """
    left = []
    for folder in _folders("memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None:
                left.append(max(0, most - max(0, (now or 0) - _row(folder / "memory.stat", cache))))
    return min(left, default=None)


def processors():
    """Processors that the tightest of the groups allows, at least 1, or None without a limit."""
    given = []
    for folder in _folders("cpu"):
        old = [word for name in ("quota", "period") for word in _words(folder / f"cpu.cfs_{name}_us")]
        quota, period = (*(_words(folder / "cpu.max") or old), "", "")[:2]
        if quota.isdigit() and period.isdigit():  # else "max", or -1
            given.append(max(1, -(-int(quota) // int(period))))
    return min(given, default=None)


def _folders(controller):
    """Folders of this process' groups, in both versions of the interface, each followed by the folders above it."""
    folders = [ROOT, ROOT / controller]
    for line in _lines(MEMBERSHIP):
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            base = ROOT / controller if controllers else ROOT
            place = base / path.strip("/")
            folders += [parent for parent in (place, *place.parents) if parent.is_relative_to(base)]
    return dict.fromkeys(folders)


def _number(path):
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None  # else "max", or -1


def _row(path, name):
    return next((int(line.split()[1]) for line in _lines(path) if line.split()[:1] == [name]), 0)


def _words(path):
    lines = _lines(path)
    return lines[0].split() if lines else []


def _lines(path):
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
