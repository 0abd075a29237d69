"""Doctor: find what would break Gatepost on this Postfix, with the command that mends it.

How it works: `scene` reads everything once; each of the other modules looks at one side of it and
yields findings; `run` calls them. Modules whose head says so do I/O of their own.
"""
