from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pooler.config import Configuration, load
from pooler.config.problems import Problems
from pooler.config.settings import Settings
from pooler.config.yamlfile import parse
from pooler.errors import ConfigError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that no etc/ is found unless a test makes one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(
    config: str | bytes | None = None,
    connections: str | bytes | None = None,
    environ: dict[str, str] | None = None,
    connections_name: str = "connections.ini",
) -> Configuration:
    config_path = write("config.yaml", config)
    connections_path = write(connections_name, connections)
    return load(config_path, connections_path, {"USER": "u"} | (environ or {}))


def write(name: str, content: str | bytes | None) -> Path | None:
    if content is None:
        return None
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else dedent(content).encode())
    return path


def mistakes(
    config: str | bytes | None = None,
    connections: str | bytes | None = None,
    environ: dict[str, str] | None = None,
    connections_name: str = "connections.ini",
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(config, connections, environ, connections_name)
    return caught.value.problems


def test_nothing_at_all_is_the_defaults() -> None:
    assert read().settings == Settings()
    assert len(read().connections) == 0


@pytest.mark.parametrize("text", ["", "# nothing\n", "kafka:\n", "---\n", "\ufeffkafka: {}\n"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    assert read(text).settings == Settings()


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "pool:\n  max_sesions: 1\n",
            "config.yaml:2:3: pool.max_sesions: not a known key (did you mean max_sessions_per_pod?)",
        ),
        ("pol:\n  x: 1\n", "config.yaml:1:1: pol: not a known section (did you mean pool?)"),
        ("pool: {}\n<<: 1\n", "config.yaml:2:1: <<: not a known section"),
        (
            "pool:\n  max_sessions_per_pod: many\n",
            "config.yaml:2:25: pool.max_sessions_per_pod: expected a whole number, got 'many'",
        ),
        ("api:\n  port: 80.5\n", "config.yaml:2:9: api.port: expected a whole number, got 80.5"),
        ("api:\n  port: true\n", "config.yaml:2:9: api.port: expected a number, got true"),
        ("api:\n  port:\n", "config.yaml:2:3: api.port: expected a whole number, got nothing"),
        ("api:\n  port: 65536\n", "config.yaml:2:9: api.port: expected at most 65535, got 65536"),
        ("api:\n  host: ''\n", "config.yaml:2:9: api.host: expected some text, got ''"),
        (
            "api:\n  enabled: perhaps\n",
            "config.yaml:2:12: api.enabled: expected true or false, got 'perhaps'",
        ),
        (
            "pool:\n  keepalive_seconds: 0\n",
            "config.yaml:2:22: pool.keepalive_seconds: expected more than 0, got 0",
        ),
        (
            "pool:\n  keepalive_seconds: .inf\n",
            "config.yaml:2:22: pool.keepalive_seconds: expected a number, got inf",
        ),
        (
            "pool:\n  keepalive_seconds: soon\n",
            "config.yaml:2:22: pool.keepalive_seconds: expected a number, got 'soon'",
        ),
        (
            "kafka:\n  window_records: 0\n",
            "config.yaml:2:19: kafka.window_records: expected at least 1, got 0",
        ),
        ("kafka:\n  client_id: 7\n", "config.yaml:2:14: kafka.client_id: expected text, got 7"),
        (
            "transfer:\n  flush: sometimes\n",
            "config.yaml:2:10: transfer.flush: expected 'batch', 'always' or 'never', got 'sometimes'",
        ),
        (
            "transfer:\n  local_root: data\n",
            "config.yaml:2:15: transfer.local_root: expected an absolute path, got 'data'",
        ),
        ("transfer:\n  local_root: [a]\n", "config.yaml:2:15: transfer.local_root: expected text, got ['a']"),
        ("logging: loud\n", "config.yaml:1:10: logging: expected keys below it, such as level, got 'loud'"),
        ("- kafka\n", "config.yaml:1:1: expected sections, such as kafka and pool"),
        ("kafka\n", "config.yaml:1:1: expected sections, such as kafka and pool"),
        (
            "kafka:\n  bootstrap_servers:\n    - a:1\n    - b\n",
            "config.yaml:3:5: kafka.bootstrap_servers: expected host:port, got 'b'",
        ),
        (
            "kafka:\n  bootstrap_servers:\n    - a:1\n    - 7\n",
            "config.yaml:4:7: kafka.bootstrap_servers[1]: expected text, got 7",
        ),
        (
            "kafka:\n  bootstrap_servers: 7\n",
            "config.yaml:2:22: kafka.bootstrap_servers: expected a list, or one text with commas, got 7",
        ),
        (
            "kafka:\n  bootstrap_servers: []\n",
            "config.yaml:2:22: kafka.bootstrap_servers: expected at least one host:port",
        ),
        ("api:\n  port: 1\n  port: 2\n", "config.yaml:3:3: api.port: stands in line 2 already"),
        ("api:\n  [a]: 2\n", "config.yaml:2:3: expected a key"),
        (
            "api:\n  host: !x y\n",
            "config.yaml:2:9: api.host: not understood: could not determine a constructor for",
        ),
        ("api: &a\n  port: *a\n", "config.yaml:1:6: api.port.port.port.port.port.port.port.port: too deep"),
    ],
)
def test_a_mistake_in_the_configuration(text: str, mistake: str) -> None:
    assert mistakes(text)[0].startswith(mistake)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "kafka:\n  base_backoff_ms: 2\n  max_backoff_ms: 1\n",
            "config.yaml:3:19: kafka.max_backoff_ms: expected at least base_backoff_ms (2), got 1",
        ),
        (
            "retry:\n  base_backoff_ms: 60000\n",
            "config.yaml:1:1: retry.max_backoff_ms: expected at least base_backoff_ms (60000), got 30000",
        ),
        (
            "kafka:\n  session_timeout_ms: 6000\n  heartbeat_interval_ms: 3000\n",
            (
                "config.yaml:3:26: kafka.heartbeat_interval_ms: "
                "expected at most a third of session_timeout_ms (6000), got 3000"
            ),
        ),
        (
            "kafka:\n  window_bytes: 2000\n  max_record_bytes: 3000\n",
            "config.yaml:3:21: kafka.max_record_bytes: expected at most window_bytes (2000), got 3000",
        ),
        (
            "kafka:\n  input_topic: a\n  fail_topic: a\n",
            "config.yaml:3:15: kafka.fail_topic: 'a' is input_topic: answers would be read as jobs",
        ),
        (
            "api:\n  port: 9090\n",
            "config.yaml: metrics: port 9090 is the port of api too: expected one of its own",
        ),
        (
            "api:\n  port: 9090\nmetrics:\n  port: 9090\n",
            "config.yaml:4:3: metrics: port 9090 is the port of api too: expected one of its own",
        ),
    ],
)
def test_values_that_do_not_go_together(text: str, mistake: str) -> None:
    assert mistakes(text) == (mistake,)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kafka: [\n", "config.yaml:2:1: not YAML: "),
        ("kafka:\n\tport: 1\n", "config.yaml:2:1: not YAML: "),
        ("a: b: c\n", "config.yaml:1:5: not YAML: "),
        ("a: *b\n", "config.yaml:1:4: not YAML: "),
        ("a: 1\n---\nb: 1\n", "config.yaml:2:1: not YAML: "),
        (b"a: \x00\n", "config.yaml: not YAML: "),
        (b"a: 1\nb: \xff\n", "config.yaml:2:4: not UTF-8"),
        ("[" * 5000, "config.yaml: not YAML: "),
    ],
    ids=["flow", "tab", "colons", "alias", "two documents", "control", "encoding", "depth"],
)
def test_what_is_not_yaml(text: str | bytes, place: str) -> None:
    (only,) = mistakes(text)
    assert only.startswith(place)
    assert "\n" not in only


def test_everything_at_once() -> None:
    assert mistakes(
        """\
        pool:
          max_sesions: 1
        api:
          port: x
        kafka:
          client_id: ${NO_SUCH}
        """,
        """\
        [a]
        type = ftp
        [d]
        type = local
        """,
        {"POOLER__RETRY__ATTEMPTS": "0", "POOLER__API__PROT": "1"},
    ) == (
        "config.yaml:2:3: pool.max_sesions: not a known key (did you mean max_sessions_per_pod?)",
        "config.yaml:4:9: api.port: expected a whole number, got 'x'",
        "config.yaml:6:14: kafka.client_id: the environment variable NO_SUCH is not set",
        "POOLER__RETRY__ATTEMPTS: retry.attempts: expected at least 1, got '0'",
        "POOLER__API__PROT: api.prot: not a known key (did you mean port?)",
        "connections.ini:1:1: a.host: missing: expected the name or address of the server",
        (
            "connections.ini:3:1: d.base_path: missing: "
            "expected an absolute path here, or transfer.local_root in the configuration"
        ),
    )


def test_a_local_root_counts_even_beside_mistakes() -> None:
    assert mistakes("transfer:\n  local_root: /data\napi:\n  port: x\n", "[d]\ntype = local\n") == (
        "config.yaml:4:9: api.port: expected a whole number, got 'x'",
    )


def test_the_environment_goes_over_the_file() -> None:
    settings = read(
        "kafka:\n  client_id: file\n  bootstrap_servers: [a:1, 7]\ntransfer:\n  local_root: /data\n",
        environ={
            "POOLER__KAFKA__CLIENT_ID": "env",
            "POOLER__KAFKA__BOOTSTRAP_SERVERS": "x:1,y:2",
            "POOLER__API__PORT": "0",
            "POOLER__POOL__PREWARM_ENABLED": "false",
            "POOLER__TRANSFER__LOCAL_ROOT": "",
        },
    ).settings
    assert settings.kafka.client_id == "env"
    assert settings.kafka.bootstrap_servers == ("x:1", "y:2")
    assert settings.api.port == 0
    assert settings.pool.prewarm_enabled is False
    assert settings.transfer.local_root is None


@pytest.mark.parametrize(
    ("variable", "value", "mistake"),
    [
        ("POOLER__API__PORT", "x", "POOLER__API__PORT: api.port: expected a whole number, got 'x'"),
        ("POOLER__API", "x", "POOLER__API: expected POOLER__SECTION__KEY"),
        (
            "POOLER__KAFKA__CLIENT_ID",
            "\udcff",
            (
                "POOLER__KAFKA__CLIENT_ID: kafka.client_id: Input should be a valid string, "
                "unable to parse raw data as a unicode string, got '\\udcff'"
            ),
        ),
        ("POOLER__", "x", "POOLER__: expected POOLER__SECTION__KEY"),
        ("POOLER__APY__PORT", "1", "POOLER__APY__PORT: apy: not a known section (did you mean api?)"),
        (
            "POOLER__RETRY__BASE_BACKOFF_MS",
            "60000",
            (
                "POOLER__RETRY__BASE_BACKOFF_MS: retry.max_backoff_ms: "
                "expected at least base_backoff_ms (60000), got 30000"
            ),
        ),
        (
            "POOLER__KAFKA__BOOTSTRAP_SERVERS",
            "a:1,b",
            "POOLER__KAFKA__BOOTSTRAP_SERVERS: kafka.bootstrap_servers: expected host:port, got 'b'",
        ),
    ],
)
def test_a_mistake_in_the_environment(variable: str, value: str, mistake: str) -> None:
    assert mistakes(environ={variable: value}) == (mistake,)


def test_a_variable_over_a_section_that_is_none() -> None:
    assert mistakes("api: 7\n", environ={"POOLER__API__PORT": "1"}) == (
        "config.yaml:1:6: api: expected keys below it, such as enabled, got 7",
    )


def test_a_variable_over_a_section_with_nothing_below_it() -> None:
    assert read("api:\n", environ={"POOLER__API__PORT": "1"}).settings.api.port == 1


def test_a_byte_order_mark() -> None:
    assert list(read(None, "\ufeff[x]\ntype = alias\nremote = /x\n").connections) == ["x"]


def test_references_in_the_configuration() -> None:
    settings = read(
        "kafka:\n  client_id: ${NAME}-$${NAME}\napi:\n  port: ${PORT}\n", environ={"NAME": "x", "PORT": "81"}
    ).settings
    assert (settings.kafka.client_id, settings.api.port) == ("x-${NAME}", 81)


@pytest.mark.parametrize("prefix", ["POOLER", "FTP_POOLER"])
def test_files_named_by_the_environment(here: Path, prefix: str) -> None:
    (here / "a.yaml").write_text("api:\n  port: 1\n")
    (here / "b.ini").write_text("[x]\ntype = alias\nremote = /x\n")
    found = load(None, None, {f"{prefix}_CONFIG": "a.yaml", f"{prefix}_CONNECTIONS": "b.ini"})
    assert found.settings.api.port == 1
    assert list(found.connections) == ["x"]
    assert (found.config_file, found.connections_file) == (Path("a.yaml"), Path("b.ini"))


def test_the_new_name_goes_before_the_old_and_the_option_before_both(here: Path) -> None:
    for name, port in (("old", 1), ("new", 2), ("option", 3)):
        (here / name).write_text(f"api:\n  port: {port}\n")
    environ = {"FTP_POOLER_CONFIG": "old", "POOLER_CONFIG": "new"}
    assert load(None, None, environ).settings.api.port == 2
    assert load(Path("option"), None, environ).settings.api.port == 3
    assert load(None, None, environ | {"POOLER_CONFIG": ""}).settings.api.port == 1


def test_files_where_they_stand_by_default(here: Path) -> None:
    (here / "etc").mkdir()
    (here / "etc/config.yaml").write_text("api:\n  port: 1\n")
    (here / "etc/connections.ini").write_text("[x]\ntype = alias\nremote = /x\n")
    found = load(None, None, {})
    assert found.settings.api.port == 1
    assert list(found.connections) == ["x"]


def test_files_that_are_not_there() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path("no.yaml"), Path("no.ini"), {})
    assert caught.value.problems == (
        "no.yaml: cannot be read: No such file or directory",
        "no.ini: cannot be read: No such file or directory",
    )


PASSWORD = "[a]\ntype = ftp\nhost = h\npass = YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ\n"


@pytest.mark.parametrize(
    ("name", "written", "password"),
    [
        ("rclone.conf", "", "potato"),
        ("connections.ini", "", "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"),
        ("rclone.conf", "connections:\n  format: plain\n", "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"),
        ("connections.ini", "connections:\n  format: rclone\n", "potato"),
    ],
)
def test_how_passwords_are_written(name: str, written: str, password: str) -> None:
    (remote,) = read(written, PASSWORD, connections_name=name).connections.remotes
    assert remote.password() == password


def test_the_format_counts_even_beside_mistakes() -> None:
    assert len(mistakes("connections:\n  format: rclone\nx: 1\n", PASSWORD)) == 1
    assert len(mistakes("connections:\n  format: rclone\nx: 1\n", PASSWORD.replace("YWFh", "!"))) == 2


def test_no_password_is_shown() -> None:
    assert "hunter2" not in repr(read("", "[a]\ntype = ftp\nhost = h\npass = hunter2\n"))


def test_warnings_are_handed_on() -> None:
    found = read("", "[a]\ntype = ftp\nhost = h\ntls = 1\nno_check_certificate = 1\n")
    assert found.warnings == (
        (
            "connections.ini:5:24: a.no_check_certificate: "
            "anybody on the way can pose as the server and read everything"
        ),
    )


pieces = st.sampled_from(
    [
        "kafka",
        "api",
        "port",
        ":",
        " ",
        "\n",
        "  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a",
        "*a",
        "!",
        "'",
        '"',
        "1",
        "|",
        "\t",
        "#",
    ]
)


@given(st.text() | st.lists(pieces).map("".join))
@example("&0[&0")
def test_any_text_is_read_or_noted(text: str) -> None:
    problems = Problems()
    document = parse(text, "c.yaml", {}, problems)
    assert all(mistake.startswith("c.yaml") for mistake in problems.mistakes)
    assert isinstance(document.values, dict)
