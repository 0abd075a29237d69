"""The milter: libmilter's callbacks become facts, a plan becomes edits.

This package is the only code that imports Milter. It decides nothing: `gatepost.decisions.message`
does.
"""
