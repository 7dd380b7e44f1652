"""What is written from the model is all of it, and the page that is kept is the one that is written."""

from pathlib import Path

from pooler.config.reference import reference, schema
from pooler.config.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    kept = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    assert kept == reference(), "write it anew: pooler config reference > docs/settings.md"


def test_each_key_has_its_row_and_says_what_it_means() -> None:
    rows = {line.split(" | ")[0].removeprefix("| "): line for line in reference().splitlines()}
    for field in Settings.model_fields.values():
        for key in type(field.default).model_fields:
            assert rows[f"`{key}`"].count(" | ") == 3
            assert len(rows[f"`{key}`"].split(" | ")[3]) > len("x |")


def test_an_editor_is_told_what_a_key_means_that_two_sections_share() -> None:
    kafka = schema()["$defs"]["KafkaSettings"]["properties"]
    assert kafka["base_backoff_ms"]["description"].startswith("The pause before the second try")
    assert kafka["sasl_mechanism"]["description"]  # of a class in another module
    assert all(key["description"] for key in kafka.values())


def test_bounds_are_told() -> None:
    assert (
        "| `heartbeat_interval_ms` | whole number, at least 1, at most 2147483647 | `3000` |" in reference()
    )
    assert '| `delivery` | `exactly_once`, `at_least_once` | `"exactly_once"` |' in reference()
