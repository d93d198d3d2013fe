"""What an agent's CLI finds in its environment."""

from __future__ import annotations

import pytest
from tinytown_adapters import is_secret
from tinytown_adapters.environment import cli_environment, inherited, without_password


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_TOKEN",
        "github_token",
        "SLACK_BOT_TOKEN",
        "CLIENT_SECRET",
        "PGPASSWORD",
        "MYSQL_PWD",
        "SSH_PASSPHRASE",
        "TINYTOWN_REDIS_PASSWORD",
        "STRIPE_APIKEY",
        "GH_PAT",
    ],
)
def test_a_name_that_speaks_of_a_secret_is_one(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "PWD",
        "OLDPWD",
        "SSH_AUTH_SOCK",
        "TINYTOWN_TASK_TOKEN",
        "KEYBOARD",
        "TOKENIZERS_PARALLELISM",
        "MONKEY",
    ],
)
def test_a_name_that_does_not_is_none(name: str) -> None:
    assert not is_secret(name)


def test_a_url_with_a_password_is_a_secret_whatever_it_is_called() -> None:
    assert is_secret("DATABASE", "postgres://ann:hunter2@db/app")
    assert is_secret("CACHE", "redis://:hunter2@localhost:6379")
    assert not is_secret("CACHE", "redis://localhost:6379")
    assert not is_secret("DOCS", "https://example.org/a:b@c")


def test_secrets_stay_out_unless_they_are_allowed() -> None:
    environment = {"PATH": "/bin", "OPENAI_API_KEY": "a", "GITHUB_TOKEN": "b", "AWS_SECRET_ACCESS_KEY": "c"}
    assert cli_environment(environment) == {"PATH": "/bin"}
    assert cli_environment(environment, allowed=("OPENAI_API_KEY", "AWS_*")) == {
        "PATH": "/bin",
        "OPENAI_API_KEY": "a",
        "AWS_SECRET_ACCESS_KEY": "c",
    }
    assert cli_environment(environment, added={"GITHUB_TOKEN": "mine"}) == {"PATH": "/bin", "GITHUB_TOKEN": "mine"}


def test_the_towns_server_is_still_named_but_its_password_is_not() -> None:
    environment = {"REDIS_URL": "rediss://ann:hunter2@db:6380/1", "TINYTOWN_REDIS_PASSWORD": "hunter2"}
    assert cli_environment(environment) == {"REDIS_URL": "rediss://ann@db:6380/1"}
    assert cli_environment({"REDIS_URL": "redis://db"}) == {"REDIS_URL": "redis://db"}
    assert without_password("redis://:hunter2@db") == "redis://db"
    assert "hunter2" not in without_password("redis://a:hunter2@[db")


def test_of_the_kernels_variables_a_cli_inherits_those_that_are_allowed() -> None:
    kernel = {"OPENAI_API_KEY": "k", "AWS_PROFILE": "p", "OTHER_API_KEY": "o", "PATH": "/bin"}
    assert inherited(kernel, ("OPENAI_API_KEY", "AWS_*")) == {"OPENAI_API_KEY": "k", "AWS_PROFILE": "p"}
    assert inherited(kernel, ()) == {}


def test_what_a_session_sets_for_its_own_commands_is_not_passed_on() -> None:
    environment = {"CLI_MODEL": "m", "CLI_SESSION_ID": "s", "HOME": "/home"}
    assert inherited(environment, ("CLI_*",), ("CLI_SESSION*",)) == {"CLI_MODEL": "m"}
