"""The decisions of live traffic and of ``gatepost explain``: facts and snapshot in, answer out.

Each module answers one question of Postfix: `recipient` the RCPT check, `message` the milter's end
of message, `transport` and `tlsmap` the two maps. They join what the domain packages decide.
"""
