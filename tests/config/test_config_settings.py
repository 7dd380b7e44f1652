import pytest
from pydantic import ValidationError

from pooler.config.settings import KafkaSettings, LoggingSettings, Settings


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().pool.max_sessions_per_pod = 1


@pytest.mark.parametrize(
    "written", ["a:1, b:2", ["a:1", "b:2"], ("a:1", "b:2")], ids=["one text", "list", "tuple"]
)
def test_servers_are_a_list_or_one_text(written: object) -> None:
    assert KafkaSettings.model_validate({"bootstrap_servers": written}).bootstrap_servers == ("a:1", "b:2")


def test_a_server_by_its_address() -> None:
    assert KafkaSettings.model_validate({"bootstrap_servers": "[::1]:9092"}).bootstrap_servers == (
        "[::1]:9092",
    )


def test_a_level_in_any_case() -> None:
    assert LoggingSettings.model_validate({"level": "debug"}).level == "DEBUG"


@pytest.mark.parametrize("topic", ["a b", "", ".", "..", "a" * 250, "a/b"])
def test_no_topic(topic: str) -> None:
    with pytest.raises(ValidationError, match="expected a topic's name"):
        KafkaSettings(result_topic=topic)


@pytest.mark.parametrize(
    "given",
    [
        {"priority_topic": "ftp-tasks"},
        {"priority_topic": ".."},
        {"priority_topic": "a b"},
        {"priority_topic": "ftp-results"},
        {"priority_topic": "ftp-tasks-control"},
        {"priority_topic": "ftp-tasks-retry-10m"},
    ],
)
def test_no_priority_topic(given: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        KafkaSettings.model_validate(given)


def test_jobs_are_read_where_they_are_sent() -> None:
    assert KafkaSettings().job_topics == ("ftp-tasks",)
    assert KafkaSettings(priority_topic="urgent").job_topics == ("ftp-tasks", "urgent")


@pytest.mark.parametrize("server", ["a", "a:", ":1", "a:0", "a:65536", "a:b", "http://a:1", "::1:9092", ""])
def test_no_server(server: str) -> None:
    with pytest.raises(ValidationError, match="expected host:port"):
        KafkaSettings(bootstrap_servers=(server,))


def test_a_check_holds_against_a_neighbour_s_default() -> None:
    with pytest.raises(ValidationError, match="expected at least base_backoff_ms"):
        KafkaSettings(base_backoff_ms=60000)


def test_ports_may_be_equal_where_only_one_is_served() -> None:
    Settings.model_validate({"api": {"port": 9090, "enabled": False}})
    Settings.model_validate({"metrics": {"port": 8080, "enabled": False}})
    Settings.model_validate({"metrics": {"port": 0}, "api": {"port": 0}})
