"""Codecs without I/O for the two protocols that Postfix speaks to us.

Purpose: bytes in, events out, replies in, bytes out. Nothing here opens a socket, waits or logs,
so every rule of a protocol is tested with plain byte strings, and any I/O shell can carry it.
Each decoder and each codec has h11's verbs: ``receive_data(bytes)``, where b"" is the end of the
stream; ``next_event()``, which gives an event or a `Signal`; ``send(reply)``, which gives bytes.

One file for each concern, and each knows only those above it:

    words       signals.py  text.py     NEED_DATA and CLOSED; octets that need not be UTF-8
    framing     framing.py  netstring.py  attributes.py     octets to one frame
    turns       exchange.py             one request, one reply, in turn
    messages    socketmap.py  policy.py     frame to request, reply to frame
    values      xtext.py                addresses inside an attribute
"""
