"""A user that is built once and evaluated often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, final
from zlib import crc32

import msgpack

from fbshared.core.users import BUILT_IN, text_of
from fbshared.errors import UserError

__all__ = ["FBUser", "read_of"]


@final
class FBUser(Mapping[str, Any]):
    """An immutable user, for whoever evaluates more than one flag for it.

    It goes wherever a dict does and gives the same results. What is checked, converted and packed for a dict in
    every call is done here once, so an evaluation and above all its event cost less. It is a mapping of texts: of
    ``key``, ``name`` and the attributes, as FeatBit's rules compare them (``36`` is ``"36"``, ``True`` is ``"True"``).

    Args:
        key: what identifies the user; not blank.
        name: its display name; not blank.
        attributes: texts, numbers or truth values; one that is None is left out.

    Raises:
        UserError: (a ValueError) the key, the name or an attribute is not usable; the message names it.
    """

    __slots__ = ("check", "key", "packed", "read", "size", "texts")

    key: str
    texts: dict[str, str]  # never changed
    read: dict[str, Any]  # what is evaluated: the texts, but numbers as they are, which compare sooner; never changed
    packed: bytes  # the beginning of every record about the user (see ``core.events``)
    size: int  # how many bytes that are
    check: int  # its CRC-32

    def __init__(self, key: str, name: str, **attributes: Any) -> None:
        self._fill(key, name, attributes)

    @classmethod
    def from_dict(cls, user: Mapping[str, Any]) -> FBUser:
        """The user of a dict as evaluation takes it, with ``key`` (or ``keyid``) and ``name``.

        Raises:
            UserError: it is no mapping, or a part of it is not usable; the message names it.
        """
        if not isinstance(user, Mapping):
            raise UserError(f"a user must be a mapping, not {type(user).__name__}")
        attributes: dict[Any, Any] = dict(user)
        key, other = attributes.pop("key", None), attributes.pop("keyid", None)
        made = object.__new__(cls)
        made._fill(key or other, attributes.pop("name", None), attributes)
        return made

    def _fill(self, key: object, name: object, attributes: Mapping[Any, Any]) -> None:
        texts = {"key": _identity("key", key), "name": _identity("name", name)}
        texts |= {_name(each): _text(each, value) for each, value in attributes.items() if value is not None}
        numbers = {name: value for name, value in attributes.items() if value.__class__ in (int, float)}
        packed = msgpack.packb(texts, unicode_errors="surrogatepass")
        object.__setattr__(self, "key", texts["key"])
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "read", texts | numbers if numbers else texts)
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "size", len(packed))
        object.__setattr__(self, "check", crc32(packed))

    def __getitem__(self, name: str) -> str:
        return self.texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __hash__(self) -> int:
        return hash(frozenset(self.texts.items()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("an FBUser cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("an FBUser cannot be changed")

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        return FBUser.from_dict, (dict(self.read),)

    def __repr__(self) -> str:
        """Its attributes' names; their values, the key and the name are the user's own."""
        return f"<FBUser with {', '.join(repr(name) for name in self.texts)}>"


def read_of(user: Mapping[str, Any]) -> Mapping[str, Any]:
    """What evaluation reads of a user: the user itself unless it is prepared."""
    return user.read if user.__class__ is FBUser else user


def _identity(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"the user's {field} must be a text that is not blank")
    return str.__str__(value)


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise UserError(f"the name of a user's attribute must be a text, not {type(name).__name__}")
    if name.lower() in BUILT_IN or name == "self":
        raise UserError(f"the user's attribute {name!r} has a name that FeatBit's rules never look up")
    return str.__str__(name)


def _text(name: str, value: object) -> str:
    text = text_of(value)
    if text is None:
        kind = type(value).__name__
        raise UserError(f"the user's attribute {name!r} must be a text, a number or a truth value, not {kind}")
    return str.__str__(text)
