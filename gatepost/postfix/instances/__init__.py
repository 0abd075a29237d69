"""Lanes that are Postfix instances of their own: their files, their life, and what leads to them.

Purpose: all services of one instance share its active queue, so a backlog of more than
qmgr_message_active_limit messages stops every lane. A lane that is an instance has a queue, a queue
manager and an active queue of its own. The main instance hands its mail over as soon as it is
queued, over a socket in the lane's ``private`` directory, and what does not belong there, such as
bounces, comes back by a socket in the main instance's.
"""
