import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.config.inifile import parse
from pooler.config.problems import Place, Problems


def read(text: str) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    problems = Problems()
    sections = parse(text, "c.ini", problems)
    values = {
        name: {key: entry.value for key, entry in found.entries.items()} for name, found in sections.items()
    }
    return values, problems.mistakes


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a = b", "a", "b"),
        ("a=b", "a", "b"),
        ("a: b", "a", "b"),
        ("a = b = c:d", "a", "b = c:d"),
        ("a : b = c", "a", "b = c"),
        ("  A_b =  c d  ", "a_b", "c d"),
        ("a = 100% #1 ; x %(y)s", "a", "100% #1 ; x %(y)s"),
        ("a = #", "a", "#"),
        ("a =", "a", ""),
        ("a = ` x `", "a", " x "),
        ('a = """x`"""', "a", "x`"),
        ("a = `", "a", "`"),
        ("a = x`y`", "a", "x`y`"),
        ("a = b\r", "a", "b"),
        ("a = b\x0bc\u2028d", "a", "b\x0bc\u2028d"),
    ],
)
def test_a_line(line: str, key: str, value: str) -> None:
    assert read(f"[s]\n{line}\n") == ({"s": {key: value}}, ())


def test_comments_blank_lines_and_order() -> None:
    text = "# one\n ; two\n\n[b]\n#x = y\nk = 1\n[ a a ]\n;\nk = 2"
    values, mistakes = read(text)
    assert values == {"b": {"k": "1"}, "a a": {"k": "2"}}
    assert list(values) == ["b", "a a"]
    assert mistakes == ()


def test_places_are_those_of_an_editor() -> None:
    problems = Problems()
    section = parse("\n [s]\n  host =  x\nuser=\n", "c.ini", problems)["s"]
    assert section.place == Place("c.ini", 2, 2)
    assert section.entries["host"].key_place == Place("c.ini", 3, 3)
    assert section.entries["host"].value_place == Place("c.ini", 3, 11)
    assert section.entries["user"].value_place == Place("c.ini", 4, 6)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("k = v\n[s]\n", "c.ini:1:1: k: stands before the first section"),
        ("[s]\n  words\n", "c.ini:2:3: not understood: expected [section], key = value, or a comment"),
        ("[s]\n= v\n", "c.ini:2:1: not understood: expected [section], key = value, or a comment"),
        ("[s]\nk = 1\nK = 2\n", "c.ini:3:1: s.k: stands in line 2 already"),
        ("[s]\n\n[s]\n", "c.ini:3:1: [s]: stands in line 1 already"),
        (
            "[]\n",
            "c.ini:1:1: '': expected a section's name without ':', '/', brackets and control characters",
        ),
        (
            "[a:b]\n",
            "c.ini:1:1: 'a:b': expected a section's name without ':', '/', brackets and control characters",
        ),
        (
            "# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc\n",
            "c.ini:3:1: an encrypted file of rclone's: expected plain text (rclone config encryption remove)",
        ),
    ],
)
def test_a_mistake(text: str, mistake: str) -> None:
    assert read(text)[1] == (mistake,)


def test_the_first_of_two_holds() -> None:
    assert read("[s]\nk = 1\nk = 2\n[s]\nk = 3\nj = 4\n")[0] == {"s": {"k": "1"}}


@given(st.text())
def test_any_text_is_read_or_noted(text: str) -> None:
    values, mistakes = read(text)
    for mistake in mistakes:
        line = int(mistake.split(":")[1])
        assert 1 <= line <= text.count("\n") + 1
    assert all(name.strip() == name for name in values)


names = st.text(st.characters(categories=["L", "N"], include_characters=" ._-+@"), min_size=1).filter(
    lambda text: text.strip() == text
)
keys = st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True)
contents = st.text(st.characters(exclude_categories=["C"], exclude_characters='\n`"')).filter(
    lambda text: text.strip() == text
)


@given(st.dictionaries(names, st.dictionaries(keys, contents)))
def test_what_is_written_is_read(sections: dict[str, dict[str, str]]) -> None:
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for name, entries in sections.items()
    )
    assert read(text) == (sections, ())
