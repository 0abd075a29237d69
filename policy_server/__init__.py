"""The servers that Postfix asks: thin adapters between sockets, codecs and decisions.

    listen.py       UNIX sockets, with the rights that Postfix needs
    serve.py        everything together, until told to stop
    pump.py         one connection: read, decode, ask, encode, write
    failures.py     what becomes of an exception: on the wire, in the log, in the metrics
    delegation.py   the policy delegation service
    maps.py         the socketmap service

Decisions are none of this package's business: it is given handlers.
"""
