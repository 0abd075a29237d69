"""List-Unsubscribe and its one-click form.

Purpose: mail programs show a button that ends a subscription; large providers ask for it in
advertising.
Source: RFC 2369 §3.2; RFC 8058 §3.1: an HTTPS address that alone identifies recipient and list,
with a part that is hard to forge; ``List-Unsubscribe-Post`` beside it.
Format: ``List-Unsubscribe: <URL/TOKEN>, <mailto:TOKEN@DOMAIN?subject=unsubscribe>``, the latter
only where a feedback domain is set; ``List-Unsubscribe-Post: List-Unsubscribe=One-Click``. TOKEN
has the purpose unsubscribe. On one line: signers have broken at folded ones.
Limits: a URL of 400 characters, so that the field fits one line of 998.
Errors: none.
Security: the token shows no address, and unsubscribes the one recipient that it names.
"""

from __future__ import annotations

import re
from functools import lru_cache

LIST_UNSUBSCRIBE = "List-Unsubscribe"
LIST_UNSUBSCRIBE_POST = "List-Unsubscribe-Post"
ONE_CLICK = "List-Unsubscribe=One-Click"


def format_list_unsubscribe(token: str, url: str, feedback_domain: str | None) -> str:
    """Return the value of List-Unsubscribe.

    Args:
        token: A token of purpose unsubscribe.
        url: The address of the page, without a slash at its end.
        feedback_domain: The domain that takes unsubscriptions by mail, or None.
    """
    by_web = f"<{url}/{token}>"
    if feedback_domain is None:
        return by_web
    return f"{by_web}, <mailto:{token}@{feedback_domain}?subject=unsubscribe>"


def texts_in_our_name(value: str, url: str, feedback_domain: str | None) -> list[str]:
    """Return what stands in a List-Unsubscribe where our tokens stand, whatever it is.

    Args:
        value: The field, folded or not.
        url: As above.
        feedback_domain: As above.
    """
    text = "".join(value.split())
    return [web or mail for web, mail in _places(url, feedback_domain or "").findall(text)]


def fold_mail_type(label: str) -> str:
    """Return a mail type in the form in which types are compared."""
    return " ".join(label.split()).casefold()


@lru_cache(maxsize=8)
def _places(url: str, feedback_domain: str) -> re.Pattern[str]:
    by_web = rf"<{re.escape(url)}/([^<>]*)"
    # Without a domain, no address of mail is ours.
    domain = re.escape(feedback_domain) if feedback_domain else "(?!)"
    return re.compile(rf"{by_web}|<mailto:([^<>@]*)@{domain}[?>]", re.IGNORECASE)
