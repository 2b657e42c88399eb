"""Tokens and secrets, with the test data of the real server."""

import pytest

from fbshared.testing.credentials import Token, decode_token, environment_of, make_secret

SECRET = "v3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w"


@pytest.mark.parametrize(
    ("token", "secret", "timestamp"),
    [
        (
            "QWSBHgpnOV3wI3kKAO9q9viC0wQWQQBDDDQBZWPXDQSdKZrVAf2U6gAnxl4lSH3w",
            "gpnOV3wI3kKAO9q9viC0wQWdKZrVAf2U6gAnxl4lSH3w",
            1666018247603,
        ),
        ("QBPBHv3faJy3RCUO8d-QQBDDDQBZZQQXHPEJiVdN6waRfGjfNan02Ms9c0LiTD6w", SECRET, 1666018800754),
        ("QBPBSv3faJy3RCUO8d-BXQQQQQQQQBWSEJiVdN6waRfGjfNan02Ms9c0LiTD6w", SECRET, 1700000000123),
        ("QQWBSv3BXQQQQQQQQBWSfaJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6w", SECRET, 1700000000123),
        ("QPSBSv3faJy3RCUO8d-EJiVdN6waRfGjfNan02Ms9c0LiTD6BXQQQQQQQQBWSw", SECRET, 1700000000123),
    ],
)
def test_known_tokens_decode(token: str, secret: str, timestamp: int) -> None:
    """A token gives back its secret and its time."""
    assert Token(secret, timestamp) == decode_token(token)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "QQWB",
        "QQWBS",
        "1QWBS" + SECRET,
        "WHDBS" + SECRET * 7,  # position 256
        "QBPBSv3faJy3RCUO8d-BXQQQQQQQQBWSEJiVdN6waRfGjfNan02Ms9c0LiTD6",
        "QBPBSv3faJy3RCUO8d-BXQQQQQQQQBWSEJiVdN6waRfGjfNan02Ms9c0LiTD6ww",
        "QBPBSv3faJy3RCUO8d-BXQQQQQQQQBWaEJiVdN6waRfGjfNan02Ms9c0LiTD6w",
        "QQWWQv3" + "U" * 20 + SECRET[2:],  # a time beyond 64 bits
        "QQWQQ" + SECRET,  # no time at all
    ],
)
def test_bad_tokens_are_refused(token: str) -> None:
    """Whatever the real decoder does not understand is refused."""
    with pytest.raises(ValueError):
        decode_token(token)


@pytest.mark.parametrize(
    ("secret", "environment"),
    [
        (SECRET, "8dc61769-5af3-4d9f-8cb3-d7342e24c3eb"),
        ("gpnOV3wI3kKAO9q9viC0wQWdKZrVAf2U6gAnxl4lSH3w", "ad99d259-1f50-4ed9-a002-7c65e25487df"),
    ],
)
def test_a_secret_tells_its_environment(secret: str, environment: str) -> None:
    """The second half of a secret is the environment id in the mixed-endian layout."""
    assert environment == environment_of(secret)
    assert environment == environment_of(make_secret(environment))


@pytest.mark.parametrize("secret", ["", SECRET[:-1], SECRET[:-1] + "=", SECRET + "w", "é" + SECRET[1:]])
def test_malformed_secrets_are_refused(secret: str) -> None:
    """Only 44 base64url characters are a secret."""
    with pytest.raises(ValueError):
        environment_of(secret)


def test_new_secrets_differ() -> None:
    """Every new secret is valid and belongs to a new environment."""
    first, second = make_secret(), make_secret()

    assert environment_of(first) != environment_of(second)
