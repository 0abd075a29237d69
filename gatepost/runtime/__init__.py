"""What keeps the three roles running: configuration holder, control socket, recorder, supervisor.

Everything here knows about processes, threads, signals and files; nothing here decides about mail.
"""
