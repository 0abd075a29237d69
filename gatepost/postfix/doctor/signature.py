"""Whether a message as it leaves carries a DKIM signature that holds and covers our headers.

Purpose: receivers use Feedback-ID, List-Unsubscribe-Post and their kin only where a valid signature
covers them, and no common signer does so unless it is told.
Source: RFC 6376 §3.5 (h=), §5.4; RFC 8058 §4 (List-Unsubscribe and -Post must be covered); Gmail
Help, "Feedback loop"; RFC 9477 §5.1 (CFBL headers).
Errors: none are raised: a signature that dkimpy does not understand is a finding.
Security: verification needs the signer's key from DNS, by way of the caller's function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.parser import BytesHeaderParser
from email.policy import compat32

from gatepost.postfix.doctor.findings import Finding, problem

# Looks a TXT record up: name with a final dot to text, or None.
Txt = Callable[..., bytes | None]

MUST_COVER = (
    "Feedback-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "CFBL-Address",
    "CFBL-Feedback-ID",
)

_SIGN_THEM = (
    "OpenDKIM, opendkim.conf: SignHeaders *,{plus}",
    "rspamd, local.d/dkim_signing.conf: add {names} to sign_headers",
    "restart the signer",
)


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
    present = [name for name in MUST_COVER if name in headers]
    covering: list[set[str]] = []
    for index in range(count):
        finding, covered = _verify(message, index, txt)
        if finding is not None:
            yield finding
        else:
            covering.append(covered)
    if covering:
        yield from _coverage(present, covering)


def _coverage(present: list[str], covering: list[set[str]]) -> Iterator[Finding]:
    bare = [n for n in present if not any(n.lower() in covered for covered in covering)]
    if bare:
        names, plus = ", ".join(bare), ",".join(f"+{name}" for name in bare)
        yield problem(
            f"No valid DKIM signature covers {names}.",
            "Receivers ignore these headers unless a signature covers them: no feedback loop, no "
            "one-click unsubscribe.",
            *(line.format(plus=plus, names=names) for line in _SIGN_THEM),
        )


def _verify(message: bytes, index: int, txt: Txt | None) -> tuple[Finding | None, set[str]]:
    """Return what is wrong with a signature, or None, and the header fields that it covers."""
    import dkim  # noqa: PLC0415 - optional, and slow to import

    verifier = dkim.DKIM(message)
    arguments = {} if txt is None else {"dnsfunc": txt}
    try:
        holds = verifier.verify(idx=index, **arguments)
        reason = "the body or a header that it covers has been changed since"
    except Exception as error:
        # dkimpy lets errors of its DNS and cryptography libraries through.
        holds, reason = False, str(error) or type(error).__name__
    fields = {
        each.strip().decode("ascii", "replace").lower()
        for each in verifier.signature_fields.get(b"h", b"").split(b":")
    }
    if holds:
        return None, fields
    domain = verifier.signature_fields.get(b"d", b"?").decode("ascii", "replace")
    return (
        problem(
            f"The DKIM signature of {domain} does not verify: {reason}.",
            "Receivers treat the message as unsigned, and may refuse it by the sender's DMARC "
            "policy.",
            "the signer has to be the last milter that changes anything, and its key has to be "
            "published",
        ),
        fields,
    )
