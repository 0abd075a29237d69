"""The table that turns an unmet TLS requirement into a bounce, for profiles that ask for one.

Purpose: smtp(8) retries every TLS failure until the message expires. A profile with
``on_failure: bounce`` would rather tell the sender at once, which smtp_delivery_status_filter does
by changing the first digit of the status. It matches the text and never the code: 4.7.5 is also
what Postfix says when our own map does not answer.
Source: postconf(5) default_delivery_status_filter, example 1, which also warns of the texts that
may come from a local problem; Postfix src/smtp/smtp_proto.c, smtp_tls_policy.c, versions 3.7 to
3.11, for the texts.
Errors: none.
Security: patterns are anchored at both ends of Postfix's own words. What a remote server says
stands behind "host … said:" and so cannot look like one of them.
"""

from __future__ import annotations

FILE_NAME = "gatepost-tls-bounce.regexp"

# What smtp(8) says where a map of its TLS policies answers "not now", and what it is to say where
# that is most often a lane that is slowed down. It stays temporary, so that no mail bounces for it.
HELD_BACK = (
    "regexp:{{/^4[.]7[.]5 client TLS configuration problem/ 4.7.1 held back: this lane is slowed "
    "down towards the destination (see gatepost shaping list) or Gatepost does not answer}}"
)

TEXT = """\
# Written by `gatepost attach`, removed by `gatepost detach`; changes made here are lost.
#
# smtp_delivery_status_filter of the gp- services whose profile says "on_failure: bounce".
# Postfix asks with "<status> <text>" and uses the answer in its place: in the log, in the decision
# to retry or to bounce, and in the message to the sender. Only the first digit is changed.

# The server has no STARTTLS, or somebody on the way took it out.
/^4(\\.[0-9]+\\.[0-9]+ TLS is required, but was not offered by host .+)$/ 5$1

# The server offers STARTTLS and then refuses it.
/^4(\\.[0-9]+\\.[0-9]+ TLS is required, but host .+ refused to start TLS: .+)$/ 5$1

# The certificate is self-signed, expired, of an unknown authority, or has another name.
/^4(\\.[0-9]+\\.[0-9]+ Server certificate not (verified|trusted))$/ 5$1

# Not here, so that mail waits:
#   Cannot start TLS: handshake failure
#       A time-out, a lost connection or a server that is busy looks like this too; a server that
#       is too old for the profile's min_version is retried, and bounces when the message expires.
#   client TLS configuration problem; TLSA lookup error
#       Gatepost's map or DNS did not answer. An outage of ours must never bounce mail.
#   TLS is required, but our TLS engine is unavailable; TLS is required, but unavailable
#       This host's own TLS set-up is broken.
"""
