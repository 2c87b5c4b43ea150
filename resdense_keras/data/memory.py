"""How much memory there is, to decide before the work what fits."""

import os
from pathlib import Path

# A container's limit, as the kernel's second and first version of control groups say it.
CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

# Of the free memory, for the pixels of a data set. Reading, splitting and TensorFlow's own copies (tf.constant of an
# array takes two, the optimizer of tf.data a third) hold them up to four times.
SHARE = 0.2


def most_pixel_bytes():
    """The size up to which the pixels of a data set are held in memory."""
    return int(SHARE * available_bytes())


def available_bytes():
    """Memory that this process can still take: the machine's, or a container's limit if that is lower."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        limits += [int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if "MemAvailable" in line]
    for cgroup in CGROUPS:
        if cgroup.exists() and (text := cgroup.read_text().strip()).isdigit():  # else "max"
            limits.append(int(text))
    return min(limits)
