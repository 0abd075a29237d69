"""Postfix's own TLS policy tables: read into rules without losing anything, and written from rules.

`source` reads the text of a table, `policy` one right-hand side, `patterns` one pattern; `rules`
makes rules of them and tells what no rule says; `yaml_text` prints rules, `export` a table.
"""

from __future__ import annotations
