"""A small internet in a network namespace, for the tests, the demo and the benchmarks.

Purpose: what a sending Postfix meets (signed DNS, a validating resolver, mail servers with good,
bad and no TLS) on addresses that exist nowhere else, so that no test reaches the real network and
none needs it. ``python -m lab.enter -- COMMAND`` makes the namespace; everything else in this
package runs inside it.
Security: test equipment only; it is not part of the installed distribution.
"""
