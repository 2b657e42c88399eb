"""What the kernel tells about the sockets of a process, also of one that stands still."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

__all__ = ["sockets_of", "unread"]


def sockets_of(pid: int) -> set[str]:
    """The inodes of the sockets that this process has open."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind, _, inode = os.readlink(path).partition(":")
        except OSError:  # closed meanwhile
            continue
        if kind == "socket":
            found.add(inode.strip("[]"))
    return found


def unread(inodes: Collection[str]) -> dict[str, int]:
    """The bytes that have arrived in each of these TCP sockets and were not read; closed ones are left out."""
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[9] in inodes:
            found[fields[9]] = int(fields[4].partition(":")[2], 16)
    return found
