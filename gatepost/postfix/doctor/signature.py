"""Whether a message as it leaves carries DKIM signatures that hold and cover our headers.

Purpose: receivers use Feedback-ID, List-Unsubscribe-Post and their kin only where a valid signature
covers them, and no common signer does so unless it is told. For CFBL it takes two, of the From:
domain and of the domain that reports go to.
Source: RFC 6376 §3.5 (h=), §5.4; RFC 8058 §4 (List-Unsubscribe and -Post must be covered); Gmail
Help, "Feedback loop"; RFC 9477 §2.1 (who must sign), §2.2 (both headers in h=).
Errors: none are raised: a signature that dkimpy does not understand is a finding.
Security: verification needs the signer's key from DNS, by way of the caller's function.
Not handled: the token header, which no signature has to cover: its token has one of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32

from gatepost.domains import domain_of
from gatepost.feedback.cfbl import CFBL_ADDRESS, CFBL_FEEDBACK_ID
from gatepost.postfix.doctor import signers
from gatepost.postfix.doctor.findings import Finding, problem, warning
from gatepost.postfix.doctor.signers import MUST_COVER
from gatepost.tenants.authors import author_domains

# Looks a TXT record up: name with a final dot to text, or None.
Txt = Callable[..., bytes | None]

_CFBL = (CFBL_ADDRESS, CFBL_FEEDBACK_ID)


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM signature of a message.

    Attributes:
        domain: Its ``d=`` in lower case, or ``?``.
        names: Its ``h=``, as written.
        problem: Why it does not verify, or empty.
    """

    domain: str
    names: tuple[str, ...]
    problem: str = ""

    def covers(self, name: str) -> bool:
        """Tell whether a header field is in it."""
        return name.lower() in (each.lower() for each in self.names)


def available() -> bool:
    """Tell whether dkimpy is installed."""
    try:
        import dkim  # noqa: F401, PLC0415 - optional, and slow to import
    except ImportError:
        return False
    return True


def check(message: bytes, txt: Txt | None = None) -> Iterator[Finding]:
    """Look at the signatures of a message.

    Args:
        message: Header and body, with any line ends.
        txt: Looks up TXT records; None asks DNS.
    """
    message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    headers = BytesHeaderParser(policy=compat32).parsebytes(message)
    count = len(headers.get_all("DKIM-Signature", []))
    if not count:
        yield problem(
            "The message has no DKIM signature.",
            "Large receivers refuse or distrust bulk mail without one, and ignore Feedback-ID and "
            "one-click List-Unsubscribe.",
            "put a signer into smtpd_milters and non_smtpd_milters behind $gatepost_milter, and "
            "give it a key for the sender's domain",
        )
    found = [_verify(message, index, txt) for index in range(count)]
    for each in found:
        if each.problem:
            yield problem(
                f"The DKIM signature of {each.domain} does not verify: {each.problem}.",
                "Receivers treat the message as unsigned, and may refuse it by the sender's DMARC "
                "policy.",
                "the signer has to be the last milter that changes anything, and its key has to be "
                "published",
            )
    good = [each for each in found if not each.problem]
    if good:
        present = [name for name in MUST_COVER if name in headers]
        bare = [name for name in present if not any(each.covers(name) for each in good)]
        yield from _coverage(bare)
        if not set(bare) & set(_CFBL):
            yield from _cfbl(headers, good)


def _coverage(bare: Sequence[str]) -> Iterator[Finding]:
    if bare:
        yield problem(
            f"No valid DKIM signature covers {', '.join(bare)}.",
            "Receivers ignore these headers unless a signature covers them: no feedback loop, no "
            "complaint reports, no one-click unsubscribe.",
            *signers.cover(),
            signers.RESTART,
        )


def _cfbl(headers: Message, good: Sequence[Signature]) -> Iterator[Finding]:
    """Look at what CFBL asks for beyond one signature that covers its headers."""
    address = str(headers.get(CFBL_ADDRESS, "")).partition(";")[0].strip(" \t\r\n<>")
    asked = domain_of(address)
    authors = [each for each in author_domains(str(headers.get("From", ""))) or () if each]
    if asked is None or not authors:
        return
    author = authors[0]
    covering = [s for s in good if all(s.covers(name) for name in _CFBL if name in headers)]
    missing = [domain for domain in _needed(author, asked, good) if not _has(covering, domain)]
    if missing:
        yield problem(
            f"No valid DKIM signature of {' and none of '.join(missing)} covers CFBL-Address and "
            "CFBL-Feedback-ID.",
            f"Reports go to {asked}, so both it and the From: domain {author} have to sign that "
            "they agree (RFC 9477); otherwise no provider sends any.",
            *signers.sign_for((author, asked)),
            *signers.cover(),
            signers.RESTART,
        )
        return
    folded = [
        each.domain
        for each in covering
        if any(name in headers and name not in each.names for name in _CFBL)
    ]
    if folded:
        yield warning(
            f"The DKIM signature of {folded[0]} does not write the names of the CFBL headers as "
            "they are written in RFC 9477.",
            "That is allowed; yet at least one reader of these headers compares the names letter "
            "by letter, and will not report.",
            *signers.cover(),
            signers.RESTART,
        )


def _needed(author: str, asked: str, good: Sequence[Signature]) -> list[str]:
    """Return the domains whose signatures must cover the CFBL headers.

    Where reports go to the From: domain or to one below it, one signature is that of both.
    """
    presigned = any(
        _is_for(each, author) and not any(map(each.covers, _CFBL)) for each in good
    ) and not any(_is_for(each, author) and any(map(each.covers, _CFBL)) for each in good)
    # The tenant signed before the headers were added: then the platform signs alone.
    return [asked] if presigned else [author, asked]


def _has(found: Sequence[Signature], domain: str) -> bool:
    return any(_is_for(each, domain) for each in found)


def _is_for(signature: Signature, domain: str) -> bool:
    """Tell whether a signature is of a domain or of one above it."""
    return domain == signature.domain or domain.endswith(f".{signature.domain}")


def _verify(message: bytes, index: int, txt: Txt | None) -> Signature:
    import dkim  # noqa: PLC0415 - optional, and slow to import

    verifier = dkim.DKIM(message)
    arguments = {} if txt is None else {"dnsfunc": txt}
    try:
        holds = verifier.verify(idx=index, **arguments)
        reason = "the body or a header that it covers has been changed since"
    except Exception as error:
        # dkimpy lets errors of its DNS and cryptography libraries through.
        holds, reason = False, str(error) or type(error).__name__
    fields = verifier.signature_fields
    names = (each.strip().decode("ascii", "replace") for each in fields.get(b"h", b"").split(b":"))
    domain = fields.get(b"d", b"?").decode("ascii", "replace").lower()
    return Signature(domain, tuple(names), "" if holds else reason)
