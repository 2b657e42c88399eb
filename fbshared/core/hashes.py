"""The hash functions, from Python's own modules for them where it has those.

``hashlib`` loads OpenSSL, which takes a process that only evaluates flags 3 ms and is slower for texts as short as
these; and its policy may be against MD5, which FeatBit's rollouts are made of.
"""

from __future__ import annotations

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

try:
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:
    from functools import partial
    from hashlib import md5 as _openssl_md5

    md5 = partial(_openssl_md5, usedforsecurity=False)

__all__ = ["blake2b", "md5"]
