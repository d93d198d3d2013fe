from __future__ import annotations

from pathlib import Path

import pytest
from tinytown.config import AgentCli, Config
from tinytown.errors import ConfigError
from tinytown_shell import Settings, tinytown_agent_backends
from tinytown_shell.words import shell_syntax


@pytest.mark.parametrize(
    ("command", "syntax"),
    [
        ("make test; make lint", ";"),
        ("npm test | tee log", "|"),
        ("make && make lint", "&&"),
        ("serve &", "&"),
        ("sort < in > out", "<"),
        ("build >> log", ">>"),
        ("run 2>&1", ">"),
        ("cli --key $API_KEY", "$API_KEY"),
        ('cli --key "${API_KEY}"', "${"),
        ('echo "$(date)"', "$("),
        ("echo `date`", "`"),
        ("pytest -q", ""),
        ("claude -p 'a; b | c > d && $HOME `x`'", ""),
        ('grep "a|b" \\; --money "5$" $5 {prompt_file}', ""),
        ("printf %s it\\'s\\;", ""),
        ("", ""),
        ("'open", ""),
    ],
)
def test_what_only_a_shell_understands_is_found_where_it_is_not_quoted(command: str, syntax: str) -> None:
    assert shell_syntax(command) == syntax


@pytest.mark.parametrize("key", ["agent_clis.linter.command", "plugins.shell.command"])
def test_shell_syntax_is_refused_when_the_settings_are_read_with_the_list_to_write(tmp_path: Path, key: str) -> None:
    command = 'ruff check . | tee "$LOG"'
    settings, config = Settings(), Config(name="t")
    if key.startswith("plugins"):
        settings = Settings(command=command)
    else:
        config = Config(name="t", agent_clis={"linter": AgentCli(command=command)})
    with pytest.raises(ConfigError, match=r"because no shell runs it, got '\|'") as caught:
        tinytown_agent_backends(settings, config, tmp_path)
    assert caught.value.fields["key"] == key
    assert caught.value.hint == r'write a list: ["sh", "-c", "ruff check . | tee \"$LOG\""]'
    words = ("sh", "-c", command)
    tinytown_agent_backends(Settings(), Config(name="t", agent_clis={"linter": AgentCli(command=words)}), tmp_path)
