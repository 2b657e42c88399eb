"""What a type checker says about a user's program: nothing about a right one, each mistake of a wrong one."""

import re
import subprocess
import sys
from pathlib import Path

RIGHT = """
from typing import Any

from fbshared import AllFlagStates, Config, EvalDetail, FBClient, FBUser, get, set_config
from typing_extensions import assert_type

set_config(Config("secret", "http://events", "ws://streaming"))
client = get()
user = FBUser("u1", "Ada", plan="pro", age=36)
again = FBUser.from_dict({"key": "u1", "name": "Ada"})
plain: dict[str, str] = {"key": "u1", "name": "Ada"}

assert_type(client, FBClient)
assert_type(user.key, str)
assert_type(client.variation("f", plain), Any)
assert_type(client.bool_variation("f", user, False), bool)
assert_type(client.bool_variation("f", user), bool | None)
assert_type(client.int_variation("f", plain, 1), int)
assert_type(client.float_variation("f", user, 1), float)
assert_type(client.float_variation("f", user, default=None), float | None)
assert_type(client.str_variation("f", {"key": "u1", "name": "n", "age": 5}, default="x"), str)
assert_type(client.json_variation("f", user, {}), dict[str, Any] | list[Any])
assert_type(client.bool_variation_detail("f", user, True).variation, bool)
assert_type(client.str_variation_detail("f", user).variation, str | None)
assert_type(client.variation_detail("f", user).variation, Any)


def shown(detail: EvalDetail, number: EvalDetail[int]) -> str:
    return f"{detail.reason} {number.variation + 1}"


states = client.get_all_latest_flag_variations(user)
assert_type(states, AllFlagStates)
assert_type(states.to_json(), str)


async def program() -> None:
    async with FBClient(Config("secret", "http://events", "ws://streaming"), start_wait=0) as other:
        assert_type(other, FBClient)
        assert_type(await other.wait_ready(5), bool)
        await other.aclose()
"""

# A line, and the code of the error that it must have.
WRONG = """
from fbshared import FBClient, FBUser


def program(client: FBClient, user: FBUser) -> None:
    client.bool_variation("f", user, "no")  # call-overload
    client.int_variation("f", user, 1.5)  # call-overload
    client.str_variation(5, user, "x")  # call-overload
    client.json_variation("f", user, "{}")  # call-overload
    client.variation("f", "u1")  # arg-type
    client.variation("f")  # call-arg
    text: str = client.bool_variation("f", user, False)  # assignment
    number: int = client.int_variation("f", user)  # assignment
    number = client.int_variation_detail("f", user).variation  # assignment
    FBUser("u1")  # call-arg
    FBUser(5, "Ada")  # arg-type
    user["plan"] = "pro"  # index
    client.wait_ready(5) + 1  # operator
"""


def checked(directory: Path, program: str) -> list[str]:
    """Lines of output: what is wrong with a program under --strict."""
    file = directory / "program.py"
    file.write_text(program)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    options = ["--strict", "--no-error-summary", "--hide-error-context", "--no-pretty", "--config-file="]
    options += ["--python-version", version, f"--cache-dir={directory}", str(file)]
    # Not in this process, whose recursion limit it would raise.
    done = subprocess.run([sys.executable, "-m", "mypy", *options], capture_output=True, text=True, timeout=150)
    assert "" == done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]


def test_a_right_and_a_wrong_program(tmp_path: Path) -> None:
    """Precise types where they are right; an error in each line that is wrong, and in no other."""
    assert [] == checked(tmp_path, RIGHT)

    lines = enumerate(WRONG.splitlines(), 1)
    expected = {number: line.rpartition("  # ")[2] for number, line in lines if "  # " in line}
    found = {}
    for line in checked(tmp_path, WRONG):
        match = re.fullmatch(r".*?:(\d+): error: .*\[([\w-]+)\]", line)
        assert match, line
        found[int(match[1])] = match[2]
    assert expected == found
