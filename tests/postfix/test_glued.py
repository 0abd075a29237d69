"""Overrides without a blank behind "-o": valid for Postfix, and misread by its postconf."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given

from gatepost.errors import AttachError, PostfixUnavailable
from gatepost.postfix.doctor.scene import look
from gatepost.postfix.master_cf import Service, for_postconf, services
from gatepost.postfix.plan import MAIN_CF, MASTER_CF
from tests.postfix.test_identity import master_files
from tests.postfix.test_rules import CLIENT, attach, said

SUBMISSION = "submission inet n - y - - smtpd\n"
GLUED = "  -osmtpd_recipient_restrictions=permit_sasl_authenticated,reject\n"


def read(text: str) -> list[tuple[str, tuple[str, ...], list[tuple[str, str]]]]:
    def known(entry: Service) -> list[tuple[str, str]]:
        return [(option.name, option.value) for option in entry.options]

    return [(entry.key, entry.flags, known(entry)) for entry in services(text)]


@given(master_files())
def test_with_a_blank_behind_each_o_a_file_means_the_same(text: str) -> None:
    spaced = for_postconf(text)
    assert read(spaced) == read(text)
    assert for_postconf(spaced) == spaced


@pytest.mark.parametrize(
    ("written", "spaced"),
    [
        ("-oa=b", "-o a=b"),
        ("-voa=b", "-vo a=b"),
        ("-o a=b", "-o a=b"),
        ("-o\n   a=b", "-o\n   a=b"),
        ("-o{a=b}", "-o {a=b}"),
    ],
)
def test_where_the_blank_goes(written: str, spaced: str) -> None:
    head = SUBMISSION.rstrip() + " "
    assert for_postconf(head + written) == head + spaced


def test_attach_warns_of_what_postconf_cannot_read() -> None:
    warning = said(attach("", CLIENT + "\n" + SUBMISSION + GLUED))
    assert "submission/inet, from master.cf line 3 on: postconf cannot read" in warning
    assert "(here smtpd_recipient_restrictions)" in warning
    spaced = attach("", CLIENT + "\n" + SUBMISSION + GLUED.replace("-o", "-o "))
    assert "postconf cannot read" not in said(spaced)


def test_doctor_reads_what_postfix_reads_and_has_postconf_edit_nothing(tmp_path: Path) -> None:
    (tmp_path / MAIN_CF).write_text("mua = permit_sasl_authenticated,reject\n")
    options = (
        "  -osmtpd_recipient_restrictions=$mua\n"
        "  -osmtpd_sender_login_maps=hash:$config_directory/x\n"
    )
    (tmp_path / MASTER_CF).write_text(CLIENT + SUBMISSION + options)
    try:
        scene = look(tmp_path, None)
    except (PostfixUnavailable, AttachError):
        pytest.skip("Postfix is not installed")
    entry = next(each for each in scene.entries if each.command == "smtpd")
    found = scene.value("smtpd_recipient_restrictions", entry)
    assert found == "permit_sasl_authenticated,reject"
    assert scene.value("smtpd_sender_login_maps", entry) == f"hash:{tmp_path}/x"
    assert "by hand" in scene.unset_override(entry, "smtpd_milters")
    spaced = dataclasses.replace(scene, files={MASTER_CF: for_postconf(scene.files[MASTER_CF])})
    entry = next(each for each in services(spaced.files[MASTER_CF]) if each.command == "smtpd")
    assert "postconf -c" in spaced.unset_override(entry, "smtpd_milters")
