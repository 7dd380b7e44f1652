"""The table of docs/ftp-servers.md, measured again; and what the client believes, held against it."""

import pytest

from pooler.ftp.features import QUIRKS, Family, Trait
from tests.support.capabilities import QUESTIONS, column, documented
from tests.support.servers import KINDS, Kind

FAMILIES: dict[Kind, Family] = {
    "vsftpd": Family.VSFTPD,
    "proftpd": Family.PROFTPD,
    "pure-ftpd": Family.PURE_FTPD,
    "pyftpdlib": Family.PYFTPDLIB,
}
# Trait → the question that shows it, and the words by which its answer does.
SHOWN_BY: dict[Trait, tuple[str, tuple[str, ...]]] = {
    Trait.PIPELINES: ("`SIZE`, `RNFR`, `RNTO`, `EPSV` in one write", ("213 350 250 229",)),
    Trait.WAITS_BEHIND_TRANSFER: ("`EPSV` behind it", ("226 229",)),
    Trait.REFUSES_BEHIND_TRANSFER: ("`EPSV` behind it", ("plain: 226 229; TLS: 450 226",)),
    Trait.SWALLOWS_BEHIND_TRANSFER: ("`EPSV` behind it", ("500 226",)),
    Trait.BREAKS_BEHIND_TRANSFER: ("`EPSV` behind it", ("229 silence, the data is cut",)),
    Trait.NO_MLSD: ("`MLSD`", ("500",)),
    Trait.MDTM_SETS: ("`MDTM` with a time", ("213, sets it",)),
    Trait.RENAME_OVER_REFUSED: ("`RNTO` onto a file", ("550, kept",)),
    Trait.NO_CLOSE_NOTIFY: ("its end has a close_notify", ("no",)),
    Trait.WANTS_RESUMPTION: ("a data connection that resumes no session", ("522", "425")),
}


@pytest.mark.servers
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_does_what_the_table_says(kind: Kind) -> None:
    measured = dict(zip(QUESTIONS, column(kind), strict=True))
    assert measured == documented()[kind]


@pytest.mark.parametrize("trait", SHOWN_BY)
def test_a_quirk_is_ascribed_to_whom_it_was_seen_at(trait: Trait) -> None:
    question, words = SHOWN_BY[trait]
    seen = {FAMILIES[kind] for kind in KINDS if documented()[kind][question] in words}
    ascribed = {family for quirk in QUIRKS if quirk.trait is trait for family in quirk.families}
    assert seen == ascribed & set(FAMILIES.values())
