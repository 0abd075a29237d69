"""What a request for a one-click unsubscription comes to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.feedback.token import Purpose, Token, day_of, seal_token
from gatepost.web import unsubscribe
from gatepost.web.unsubscribe import (
    HEADERS,
    MAX_BODY_OCTETS,
    Answer,
    Request,
    asks_for_one_click,
    decide,
)
from tests.world import KEYS, NOW

DAY = 86_400
TOKEN = Token(4711, b"12345678", 1, day_of(NOW))
TEXT = seal_token(TOKEN, Purpose.UNSUBSCRIBE, KEYS)
FORM = "application/x-www-form-urlencoded"
PAIR = b"List-Unsubscribe=One-Click"
PARTS = (
    b'--xyz\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n'
    b"--xyz--\r\n"
)
FORGED = (
    TEXT[:-1] + ("a" if TEXT[-1] != "a" else "b"),
    TEXT[:-1],
    TEXT + "a",
    "a" * 48,
    seal_token(TOKEN, Purpose.BOUNCE, KEYS),
    seal_token(TOKEN, Purpose.COMPLAINT, KEYS),
    seal_token(TOKEN, Purpose.SESSION, KEYS),
    seal_token(Token(4711, b"12345678", 1, day_of(NOW) - 61), Purpose.UNSUBSCRIBE, KEYS),
    "",
    "%2e%2e",
    f"{TEXT}%00",
    f"x{TEXT}",
)


def post(body: bytes = PAIR, content_type: str = FORM, path: str = f"/unsubscribe/{TEXT}"):
    return decide(Request("POST", path, content_type, body), KEYS, NOW)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, PAIR),
        ("Application/X-WWW-Form-URLencoded; charset=utf-8", PAIR + b"\r\n"),
        (FORM, b"a=b&" + PAIR + b"&c"),
        (FORM, b"List%2DUnsubscribe=One%2DClick"),
        ("", PAIR),
        ("multipart/form-data; boundary=xyz", PARTS),
        ('Multipart/Form-Data; charset=utf-8; boundary="xyz"', b"preamble\r\n" + PARTS),
        ("multipart/form-data; boundary=xyz", PARTS.replace(b"\r\n", b"\n")),
        (
            "multipart/form-data; boundary=xyz",
            b'--xyz\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n' + PARTS,
        ),
    ],
)
def test_both_kinds_of_body(content_type: str, body: bytes) -> None:
    assert post(body, content_type) == TOKEN


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b""),
        (FORM, b"List-Unsubscribe"),
        (FORM, b"List-Unsubscribe="),
        (FORM, b"List-Unsubscribe=one"),
        (FORM, b"&" * 4096),
        (FORM, PARTS),
        ("text/plain", PAIR),
        ("application/json", b'{"List-Unsubscribe": "One-Click"}'),
        ("multipart/form-data", PARTS),
        ("multipart/form-data; boundary=abc", PARTS),
        ("multipart/form-data; boundary=xyz", PAIR),
        ("multipart/form-data; boundary=xyz", PARTS.replace(b"One-Click", b"no")),
        ("multipart/form-data; boundary=xyz", PARTS.replace(b"List-", b"Lost-")),
        ("multipart/mixed; boundary=xyz", PARTS),
        (FORM + ";" + "x" * 200, PAIR),
        (FORM + ";\r\n", PAIR),
    ],
)
def test_a_post_without_the_pair_changes_nothing_and_shows_the_button(
    content_type: str, body: bytes
) -> None:
    answer = post(body, content_type)
    assert answer == unsubscribe.INCOMPLETE
    assert (answer.status, answer.body) == (400, unsubscribe.ASKED.body)


def test_a_body_that_is_too_large() -> None:
    assert post(PAIR + b"&" + b"x" * (MAX_BODY_OCTETS - len(PAIR) - 1)) == TOKEN
    assert post(PAIR + b"&" + b"x" * (MAX_BODY_OCTETS - len(PAIR))) == unsubscribe.TOO_LARGE


@pytest.mark.parametrize("path", [f"/{TEXT}", f"/a/b/c/{TEXT.upper()}", TEXT, f"//{TEXT}"])
def test_whatever_stands_before_the_token(path: str) -> None:
    assert post(path=path) == TOKEN


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("text", FORGED)
def test_all_that_is_no_token_is_the_same(method: str, text: str) -> None:
    answer = decide(Request(method, f"/unsubscribe/{text}", FORM, PAIR), KEYS, NOW)
    assert answer is unsubscribe.NOT_FOUND
    assert answer.status == 404


def test_an_old_link() -> None:
    request = Request("POST", f"/{TEXT}", FORM, PAIR)
    assert decide(request, KEYS, NOW + 60 * DAY) == TOKEN
    assert decide(request, KEYS, NOW + 61 * DAY) is unsubscribe.NOT_FOUND


def test_a_long_path_is_not_looked_at() -> None:
    assert post(path="/" + "x" * 1024 + "/" + TEXT) is unsubscribe.NOT_FOUND


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", unsubscribe.ASKED),
        ("HEAD", unsubscribe.ASKED),
        ("OPTIONS", unsubscribe.OPTIONS),
        ("PUT", unsubscribe.NO_SUCH_METHOD),
        ("DELETE", unsubscribe.NO_SUCH_METHOD),
        ("post", unsubscribe.NO_SUCH_METHOD),
        ("PROPFIND", unsubscribe.NO_SUCH_METHOD),
    ],
)
def test_other_methods_change_nothing(method: str, answer: Answer) -> None:
    for body in (b"", PAIR):
        assert decide(Request(method, f"/unsubscribe/{TEXT}", FORM, body), KEYS, NOW) is answer


PATHS = st.one_of(
    st.text(),
    st.sampled_from(FORGED).map(lambda text: f"/unsubscribe/{text}"),
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=48, max_size=48).map(lambda t: f"/u/{t}"),
    st.integers(0, 47).map(
        lambda i: "/" + TEXT[:i] + ("2" if TEXT[i] != "2" else "3") + TEXT[i + 1 :]
    ),
)
BODIES = st.one_of(st.just(PAIR), st.just(PARTS), st.binary(max_size=200))
TYPES = st.one_of(st.sampled_from([FORM, "multipart/form-data; boundary=xyz", ""]), st.text())


@pytest.mark.fuzz
@given(st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "PUT"]) | st.text(), PATHS, TYPES, BODIES)
def test_no_request_without_a_valid_token_changes_anything(
    method: str, path: str, content_type: str, body: bytes
) -> None:
    answer = decide(Request(method, path, content_type, body), KEYS, NOW)
    assert isinstance(answer, Answer)


@pytest.mark.fuzz
@given(st.sampled_from(["GET", "HEAD", "OPTIONS", "PUT"]) | st.text(), TYPES, BODIES)
def test_none_but_a_post_changes_anything(method: str, content_type: str, body: bytes) -> None:
    if method != "POST":
        answer = decide(Request(method, f"/{TEXT}", content_type, body), KEYS, NOW)
        assert isinstance(answer, Answer)


@pytest.mark.fuzz
@given(
    st.text("multipart/form-data; boundary=\"'x\r\n\0é*%", max_size=220) | TYPES,
    st.text('-xyz\r\n:;=" Content-DispositionTypemultipart/form-data;boundary', max_size=500).map(
        str.encode
    )
    | st.binary(max_size=4096),
)
def test_no_body_breaks_the_reader(content_type: str, body: bytes) -> None:
    assert asks_for_one_click(content_type, body) in {True, False}
    assert asks_for_one_click("multipart/form-data; boundary=x", body) in {True, False}


def test_a_nested_body_ends() -> None:
    nested = b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n" * 80
    assert not asks_for_one_click("multipart/form-data; boundary=x", nested[:MAX_BODY_OCTETS])


# Pages


ANSWERS = [each for each in vars(unsubscribe).values() if isinstance(each, Answer)]


def test_pages_have_neither_scripts_nor_anything_from_elsewhere() -> None:
    assert len(ANSWERS) == 10
    for answer in ANSWERS:
        text = answer.body.decode("ascii").lower()
        for word in ("<script", "src=", "href=", "http:", "https:", "action=", "<img"):
            assert word not in text
        assert TEXT not in text
    assert (
        b'<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
        in (unsubscribe.ASKED.body)
    )


def test_the_policy_allows_the_style_of_the_page_alone() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "form-action 'self'" in policy
    assert HEADERS["Cache-Control"] == "no-store"
    assert "noindex" in HEADERS["X-Robots-Tag"]
    assert HEADERS["Referrer-Policy"] == "no-referrer"
    assert {"set-cookie", "location"}.isdisjoint(name.lower() for name in HEADERS)
