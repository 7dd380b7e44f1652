"""What a temporary name on a server may be."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.temp_name import NAME, TOKEN, TempName, temp_name

PIECES = st.sampled_from([NAME, TOKEN, "/", ".", "..", "\\", "a", "{", "}", "{x}", "\n", "\0", "é"])


@pytest.mark.parametrize(
    ("text", "folder", "name"),
    [
        (".{token}.part", "", ".{token}.part"),
        ("{name}.filepart", "", "{name}.filepart"),
        ("tmp/{name}", "tmp", "{name}"),
        ("tmp/a b/{token}", "tmp/a b", "{token}"),
        ("/tmp/{token}_{name}", "/tmp", "{token}_{name}"),
        ("/{token}", "/", "{token}"),
        ("..a/b..{token}", "..a", "b..{token}"),
    ],
)
def test_patterns(text: str, folder: str, name: str) -> None:
    assert temp_name(text) == TempName(folder, name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a name"),
        ("tmp/", "a name"),
        ("../{token}", "without '.' and '..'"),
        ("a/../{token}", "without '.' and '..'"),
        ("a\\..\\{token}", "without '.' and '..'"),
        ("./{token}", "without '.' and '..'"),
        ("a//{token}", "without '.' and '..'"),
        ("{token}/a", "in the name alone"),
        ("{name}/{token}", "in the name alone"),
        ("{host}{token}", "alone in braces"),
        ("{token", "alone in braces"),
        ("{token}}", "alone in braces"),
        ("{token}{token}", "once each"),
        ("{name}{name}", "once each"),
        ("part", "all files would have one name"),
        ("/tmp/{name}", "files of all folders"),
        ("/{name}.part", "files of all folders"),
        ("{name}", "in_place"),
        ("{token}\r\nDELE x", "CR, LF or NUL"),
    ],
)
def test_what_is_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        temp_name(text)


@given(st.lists(PIECES, max_size=8).map("".join))
def test_whatever_loads_stays_below_the_root_and_tells_files_apart(text: str) -> None:
    try:
        found = temp_name(text)
    except ValueError:
        return
    path = f"{found.folder}/{found.name}"
    parts = path.removeprefix("/").replace("\\", "/").split("/")
    assert not {".", ".."} & set(parts)
    assert not re.search(r"[\r\n\0]", path)
    assert found.name
    assert TOKEN in found.name or (NAME in found.name and not found.folder.startswith("/"))
    left = found.name.replace(NAME, "", 1).replace(TOKEN, "", 1)
    assert not {"{", "}"} & set(left + found.folder)
