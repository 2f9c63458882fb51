"""What pidgin and finch share: the files of libpurple."""

from pathlib import Path

from client import PASSWORD

# Where libpurple looks for certificate authorities; the world has one.
CERTIFICATE = (".purple/certificates/x509/ca/world", Path("/etc/ssl/certs/ca-certificates.crt").read_text())


def account(interface, client):
    """The content of accounts.xml; `interface` is the one that logs in by itself."""
    return f"""<?xml version='1.0' encoding='UTF-8' ?>
<account version='1.0'>
 <account>
  <protocol>prpl-jabber</protocol>
  <name>{client.bare}/{client.name}</name>
  <password>{PASSWORD}</password>
  <settings>
   <setting name='port' type='int'>{client.server.client_port}</setting>
   <setting name='connection_security' type='string'>opportunistic_tls</setting>
  </settings>
  <settings ui='{interface}'>
   <setting name='auto-login' type='bool'>1</setting>
  </settings>
 </account>
</account>
"""
