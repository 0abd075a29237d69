"""How much, how fast: lanes, the named ways out of Postfix."""
