"""The text of a private Postfix's configuration files.

Purpose: main.cf and master.cf as a fresh Debian installation has them, less chroot, plus what keeps
the instance in its directory and on its address.
Source: postconf(5), master(5); Debian's master.cf.proto; Cyrus SASL's options documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.ca import Certificate

# Debian's own commented sample, but with AUTH allowed before STARTTLS, so that a test can read
# its own traffic.
SUBMISSION_OPTIONS = (
    "syslog_name=postfix/submission",
    "smtpd_tls_security_level=may",
    "smtpd_sasl_auth_enable=yes",
    "smtpd_relay_restrictions=permit_sasl_authenticated,reject",
    "milter_macro_daemon_name=ORIGINATING",
)

_MASTER_CF = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       n       -       -       smtpd
submission inet n       -       n       -       -       smtpd
{submission}
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
        -o syslog_name=postfix/$service_name
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


def main_cf(
    directory: Path,
    *,
    address: str,
    hostname: str,
    ca_file: Path | None,
    certificate: Certificate | None,
    changes: Mapping[str, str],
) -> str:
    """Return main.cf: the lab's defaults, each replaced where `changes` names it."""
    parameters = {
        # 3.6 is the newest level that the oldest supported Postfix knows.
        "compatibility_level": "3.6",
        "queue_directory": f"{directory}/queue",
        "data_directory": f"{directory}/data",
        "maillog_file": f"{directory}/maillog",
        "maillog_file_prefixes": str(directory),
        "myhostname": hostname,
        "mydestination": "$myhostname, localhost",
        "mynetworks": "127.0.0.0/8, 198.18.0.0/24",
        "inet_interfaces": address,
        "inet_protocols": "ipv4",
        "alias_maps": "",
        "alias_database": "",
        # local(8) must not write to the host's mailboxes.
        "mail_spool_directory": f"{directory}/mail/",
        "notify_classes": "",
        "biff": "no",
        "smtpd_sasl_path": "smtpd",
        # Debian looks there whatever this parameter says; others need it.
        "cyrus_sasl_config_path": "$config_directory/sasl",
    }
    if ca_file is not None:
        parameters["smtp_tls_CAfile"] = str(ca_file)
    if certificate is not None:
        parameters["smtpd_tls_chain_files"] = str(certificate.chain_file)
        parameters["smtpd_tls_security_level"] = "may"
    parameters.update(changes)
    return "".join(f"{name} = {value}".rstrip() + "\n" for name, value in parameters.items())


def master_cf(services: Sequence[str], submission: Sequence[str]) -> str:
    """Return master.cf with the standard services, then `services`.

    Args:
        services: Whole entries; options follow on indented lines.
        submission: ``name=value`` settings of the submission service.
    """
    options = "\n".join(f"  -o {{ {option} }}" for option in submission)
    standard = _MASTER_CF.replace("{submission}\n", f"{options}\n" if options else "")
    return standard + "".join(f"{service.rstrip()}\n" for service in services)


def sasl_conf(database: Path) -> str:
    """Return Cyrus SASL's configuration for smtpd: passwords in a sasldb of our own."""
    return (
        "pwcheck_method: auxprop\n"
        "auxprop_plugin: sasldb\n"
        f"sasldb_path: {database}\n"
        "mech_list: PLAIN LOGIN\n"
    )
