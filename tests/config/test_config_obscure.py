import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.obscure import obscure, reveal

VECTORS = [
    (b"a" * 16, "", "YWFhYWFhYWFhYWFhYWFhYQ"),
    (b"a" * 16, "potato", "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ"),
    (b"b" * 16, "potato", "YmJiYmJiYmJiYmJiYmJiYp3gcEWbAw"),
]

# The cipher only flips bits: those that make "potato" into bytes that are no UTF-8.
NO_TEXT = (
    base64.urlsafe_b64encode(
        b"a" * 16
        + bytes(
            hidden ^ plain ^ 0xFF
            for hidden, plain in zip(
                base64.urlsafe_b64decode(VECTORS[1][2] + "==")[16:], b"potato", strict=True
            )
        )
    )
    .decode()
    .rstrip("=")
)


@pytest.mark.parametrize(("iv", "password", "obscured"), VECTORS)
def test_vectors_of_rclone(iv: bytes, password: str, obscured: str) -> None:
    assert obscure(password, iv) == obscured
    assert reveal(obscured) == password


@given(st.text())
def test_what_is_obscured_is_revealed(password: str) -> None:
    assert reveal(obscure(password)) == password


def test_the_iv_is_random() -> None:
    assert obscure("potato") != obscure("potato")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3cret!", "not base64url"),
        ("pässword", "not base64url"),
        ("YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ+/", "not base64url"),
        ("YWFhYWFhYWFhYWFhYWFhY", "not base64url"),
        ("potato", "too short"),
        ("", "too short"),
        (NO_TEXT, "not text"),
    ],
)
def test_what_is_not_obscured_is_refused_without_being_told(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        reveal(text)
    assert not text or text not in str(caught.value)


@given(st.text())
def test_any_text_is_revealed_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        reveal(text)
