"""Words of others on our terminal: they are shown, and never obeyed."""

from contextlib import suppress


def plain(text: str, encoding: str) -> str:
    """Escape what is no text in an encoding, and what a terminal would not show but obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_letter(letter, encoding) for letter in text)


def _letter(letter: str, encoding: str) -> str:
    code = ord(letter)
    if letter.isprintable():
        with suppress(UnicodeEncodeError):
            letter.encode(encoding)
            return letter
    if "\udc80" <= letter <= "\udcff":  # a byte that is no text in the remote's charset
        return f"\\x{code - 0xDC00:02x}"
    if letter.isascii():
        return ascii(letter)[1:-1]
    return f"\\u{code:04x}" if len(f"{code:x}") <= len("ffff") else f"\\U{code:08x}"
