"""What to write into the configuration of a DKIM signer, so that its signatures are worth it.

Source: opendkim.conf(5), SignHeaders (``*`` stands for those it signs by default), OversignHeaders,
SigningTable, MultipleSignatures; rspamd, "DKIM signing module", sign_headers.
Format: lines for `Finding.mend`.
Errors: none.
Not handled: selectors and key files, which are the operator's.
"""

from __future__ import annotations

from collections.abc import Sequence

# Headers that no common signer signs by default, and those whose addition later would be as bad.
MUST_COVER = (
    "Feedback-ID",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "CFBL-Address",
    "CFBL-Feedback-ID",
)

RESTART = "restart the signer, and run this again"

# rspamd has no word for its own list, which is this one.
_RSPAMD = (
    "(o)from:(x)sender:(o)reply-to:(o)subject:(x)date:(x)message-id:(o)to:(o)cc:(x)mime-version:"
    "(x)content-type:(x)content-transfer-encoding:resent-to:resent-cc:resent-from:resent-sender:"
    "resent-message-id:(x)in-reply-to:(x)references:list-id:list-help:list-owner:list-subscribe:"
    "list-post"
)


def cover(names: Sequence[str] = MUST_COVER) -> list[str]:
    """Return the lines by which signers cover header fields, and their absence."""
    whole = ":".join([_RSPAMD, *(f"(o){name}" for name in names)])
    return [
        "OpenDKIM, opendkim.conf: SignHeaders " + ",".join(["*", *(f"+{name}" for name in names)]),
        "OpenDKIM, opendkim.conf: OversignHeaders " + ",".join(["From", *names]),
        f'rspamd, local.d/dkim_signing.conf: sign_headers = "{whole}";',
    ]


def sign_for(domains: Sequence[str]) -> list[str]:
    """Return the lines by which a signer makes a signature of each domain.

    Args:
        domains: The From: domain, then the platform's.
    """
    own, platform = domains[0], domains[-1]
    return [
        "OpenDKIM, opendkim.conf: MultipleSignatures yes",
        "OpenDKIM, opendkim.conf: SigningTable refile:/etc/opendkim/SigningTable",
        f"OpenDKIM, /etc/opendkim/SigningTable, a line: *@{own} {own}",
        f"OpenDKIM, /etc/opendkim/SigningTable, the last line: * {platform}",
        *(
            f"OpenDKIM, file of KeyTable, a line: {each} {each}:SELECTOR:/etc/opendkim/{each}.pem"
            for each in dict.fromkeys(domains)
        ),
        "rspamd: two signatures take a sign_condition, see docs/feedback.md",
    ]
