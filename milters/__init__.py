"""The milter adapter: libmilter callbacks to facts, plans to edits."""
