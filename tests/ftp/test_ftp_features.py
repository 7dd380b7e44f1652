"""FEAT, greetings and the table of quirks: what servers really say, and Hypothesis."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pooler.ftp.features import (
    MAX_FEATURES,
    QUIRKS,
    Family,
    Features,
    Quirk,
    Trait,
    guess_family,
    parse_feat,
    read_features,
)

PROFTPD = (
    b"Features:",
    b" MDTM",
    b" MFMT",
    b" TVFS",
    b" UTF8",
    b" AUTH TLS",
    b" MFF modify;UNIX.group;UNIX.mode;",
    b" HASH CRC32;MD5;SHA-1*;SHA-256;SHA-512",
    b" XCRC",
    b" XSHA256",
    b" MLST modify*;perm*;size*;type*;unique*;UNIX.group;",
    b" EPRT",
    b" EPSV",
    b" PBSZ",
    b" PROT",
    b" REST STREAM",
    b" SIZE",
    b" SITE MKDIR",
    b" SITE UTIME",
    b" CLNT",
    b"End",
)
VSFTPD = (b"Features:", b" EPRT", b" EPSV", b" MDTM", b" PASV", b" REST STREAM", b" SIZE", b" TVFS", b"End")
PURE = (
    b"Extensions supported:",
    b" EPSV",
    b" ESTA",
    b" ESTP",
    b" MLST type*;size*;sizd*;modify*;",
    b" MLSD",
    b"End.",
)
SERV_U = (
    b"Extensions supported",
    b"UTF8",
    b"    MDTM YYYYMMDDHHMMSS[+-TZ];filename",
    b" MDTM",
    b" XCRC filename;start;end",
    b" MLST Type*;Size*;",
    b" AUTH SSL;TLS;",
    b"End",
)


def test_proftpd() -> None:
    features = read_features(PROFTPD, "ProFTPD 1.3.8b Server (Debian) [::ffff:127.0.0.1]", "UNIX Type: L8")
    assert features.answered
    assert (features.family, features.version, features.system) == (
        Family.PROFTPD,
        (1, 3, 8),
        "UNIX Type: L8",
    )
    assert all(map(features.has, ["SIZE", "MDTM", "MFMT", "EPSV", "EPRT", "PBSZ", "PROT", "TVFS", "CLNT"]))
    assert features.mlsd
    assert features.mlst_facts == ("modify", "perm", "size", "type", "unique", "unix.group")
    assert features.mlst_selected == ("modify", "perm", "size", "type", "unique")
    assert features.hashes == ("CRC32", "MD5", "SHA-1", "SHA-256", "SHA-512")
    assert features.hash_selected == "SHA-1"
    assert features.utf8
    assert not features.mdtm_sets


def test_serv_u() -> None:
    features = read_features(SERV_U, "Serv-U FTP Server v15.4 ready...")
    assert (features.family, features.version) == (Family.SERV_U, (15, 4))
    assert features.mdtm_sets
    assert features.has("XCRC")
    assert features.utf8
    assert features.hash_selected is None


def test_point_8_mlsd_is_worth_a_try_no_more() -> None:
    assert read_features(PURE).mlsd
    assert read_features(PROFTPD).mlsd
    vsftpd = read_features(VSFTPD)
    assert not vsftpd.mlsd
    assert Trait.NO_MLSD in vsftpd.quirks


@pytest.mark.parametrize("feat", [None, (), (b"No features",), (b"a", b"b")])
def test_nothing_is_known_without_feat(feat: tuple[bytes, ...] | None) -> None:
    features = read_features(feat)
    assert features.answered is (feat is not None)
    assert dict(features.listed) == {}
    assert (features.family, features.quirks) == (Family.UNKNOWN, frozenset())
    assert not any((features.mlsd, features.utf8, features.mdtm_sets))
    assert features.hashes == features.mlst_facts == ()
    assert Features() == Features()


@pytest.mark.parametrize(
    ("greeting", "family", "version"),
    [
        ("(vsFTPd 3.0.5)", Family.VSFTPD, (3, 0, 5)),
        ("ProFTPD Server (Debian) [127.0.0.1]", Family.PROFTPD, ()),
        ("ProFTPD 1.3.9rc2 Server ready.", Family.PROFTPD, (1, 3, 9)),
        ("---------- Welcome to Pure-FTPd [privsep] [TLS] ----------", Family.PURE_FTPD, ()),
        ("pyftpdlib 2.0.1 ready.", Family.PYFTPDLIB, (2, 0, 1)),
        ("FileZilla Server 1.8.0 Please visit https://filezilla-project.org/", Family.FILEZILLA, (1, 8, 0)),
        ("FileZilla Server version 0.9.60 beta", Family.FILEZILLA, (0, 9, 60)),
        ("Microsoft FTP Service", Family.IIS, ()),
        ("host Microsoft FTP Service (Version 5.0).", Family.IIS, (5, 0)),
        ("Serv-U FTP-Server v2.5 for WinSock ready...", Family.SERV_U, (2, 5)),
        ("SFTPGo 2.6.2 ready", Family.SFTPGO, (2, 6, 2)),
        ("host FTP server (Version wu-2.6.2(1) Mon) ready.", Family.WU_FTPD, (2, 6, 2)),
        ("FTPD1 IBM FTP CS V2R4 at HOST, 09:30:12 on 2026-11-23.", Family.MVS, ()),
        ("QTCP at HOST.", Family.OS400, ()),
        ("HOST MultiNet FTP Server Process V5.5", Family.VMS, ()),
        ("Welcome", Family.UNKNOWN, ()),
        ("", Family.UNKNOWN, ()),
    ],
)
def test_families_by_greeting(greeting: str, family: Family, version: tuple[int, ...]) -> None:
    assert guess_family(greeting) == (family, version)


@pytest.mark.parametrize(
    ("system", "family"),
    [
        ("UNIX Type: L8", Family.UNKNOWN),
        ("Windows_NT", Family.IIS),
        ("MVS is the operating system of this server. FTP Server is running on z/OS.", Family.MVS),
        ("OS/400 is the remote operating system.", Family.OS400),
        ("VMS OpenVMS V8.4", Family.VMS),
    ],
)
def test_families_by_system(system: str, family: Family) -> None:
    assert guess_family("Hello", system)[0] is family


def test_families_by_what_is_listed() -> None:
    assert read_features(VSFTPD, "Hello").family is Family.VSFTPD
    assert read_features(PURE, "Hello").family is Family.PURE_FTPD
    assert read_features(PROFTPD, "Hello").family is Family.UNKNOWN
    assert read_features((*VSFTPD[:-1], b" XCRC", b"End"), "Hello").family is Family.UNKNOWN


def test_quirks_are_of_a_family_and_a_version() -> None:
    old = Features(family=Family.PROFTPD, version=(1, 3, 8))
    silent = Features(family=Family.PROFTPD)
    new = Features(family=Family.PROFTPD, version=(1, 3, 9))
    assert Trait.REFUSES_BEHIND_TRANSFER in old.quirks & silent.quirks
    assert Trait.REFUSES_BEHIND_TRANSFER not in new.quirks
    assert Trait.PIPELINES in old.quirks & new.quirks


@pytest.mark.parametrize(
    ("point", "trait", "family"),
    [
        (4, Trait.SECOND_PRELIMINARY, Family.PURE_FTPD),
        (8, Trait.NO_MLSD, Family.VSFTPD),
        (10, Trait.RENAME_OVER_REFUSED, Family.IIS),
        (14, Trait.AUTH_TRAVELS_ALONE, Family.FILEZILLA),
        (15, Trait.HANDSHAKE_BEHIND_COMMAND, Family.PURE_FTPD),
        (15, Trait.HANDSHAKE_BEHIND_COMMAND, Family.PROFTPD),
        (16, Trait.WANTS_RESUMPTION, Family.PROFTPD),
        (16, Trait.WANTS_RESUMPTION, Family.VSFTPD),
        (16, Trait.WANTS_RESUMPTION, Family.FILEZILLA),
        (18, Trait.NO_CLOSE_NOTIFY, Family.IIS),
    ],
)
def test_points_that_are_quirks_of_a_family(point: int, trait: Trait, family: Family) -> None:
    assert trait in Features(family=family).quirks, point


def test_each_trait_has_a_row_with_a_source_and_nobody_does_two_things_at_once() -> None:
    assert {quirk.trait for quirk in QUIRKS} == set(Trait)
    assert all(quirk.source and quirk.families for quirk in QUIRKS)
    behind = {trait for trait in Trait if trait.name.endswith("BEHIND_TRANSFER")}
    for family in Family:
        traits = Features(family=family).quirks
        assert len(traits & behind) <= 1
        assert not {Trait.PIPELINES, Trait.ONE_AT_A_TIME} <= traits


def test_the_table_in_the_docs_is_current() -> None:
    docs = (Path(__file__).parents[2] / "docs" / "ftp-servers.md").read_text()
    rows = [
        f"| {family.value} | {quirk.trait.value}{_through(quirk)} | {quirk.source} |"
        for family in Family
        for quirk in QUIRKS
        if family in quirk.families
    ]
    begin, end = docs.index(rows[0]), docs.index(rows[-1]) + len(rows[-1])
    assert docs[begin:end].splitlines() == rows


def _through(quirk: Quirk) -> str:
    return f" (up to {'.'.join(map(str, quirk.through))})" if quirk.through else ""


def test_a_star_alone_is_nothing() -> None:
    features = read_features([b"", b" MLST *;size*;", b" HASH *", b""])
    assert (features.mlst_facts, features.mlst_selected) == (("size",), ("size",))
    assert (features.hashes, features.hash_selected) == ((), None)


def test_feat_is_bounded() -> None:
    lines = [b"Features", *(b" F%d" % number for number in range(MAX_FEATURES + 9)), b"End"]
    assert len(parse_feat(lines)) == MAX_FEATURES
    (name,) = parse_feat([b"", b" X " + b"y" * 9000, b""])
    assert len(parse_feat([b"", b" X " + b"y" * 9000, b""])[name][0]) < 2000


@given(st.lists(st.binary(max_size=80), max_size=12), st.text(max_size=200), st.text(max_size=200))
def test_nothing_breaks_it(lines: list[bytes], greeting: str, system: str) -> None:
    features = read_features(lines, greeting, system)
    for name in features.listed:
        assert name == name.upper()
    for words in (features.mlst_facts, features.mlst_selected, features.hashes):
        assert "" not in words
    assert isinstance(hash(features), int)
