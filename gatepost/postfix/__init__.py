"""The Postfix that is there: reading its configuration, changing it, and taking the change back.

This is the only package that runs postconf(1) and postfix(1), and of these only `commands` does.
How a change is made: `lines`, `main_cf` and `master_cf` read the two files without losing a
character; `attach_main`, `attach_master` and `detach` compute new text from old text and do no
I/O; `referee` lets Postfix confirm that the new text means what we intended; `apply` replaces the
files, or puts the old ones back.
"""
