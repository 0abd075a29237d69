"""How it must travel: levels, profiles, rules, and the answer that Postfix gets."""
