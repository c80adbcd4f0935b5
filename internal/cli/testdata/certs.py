"""Python's client with certificates of the command certs. For each way it prints its name and what
came of it.

Arguments: directory with the authorities ca and other, host:port of a server; and for a handshake
alone, NAME of the certificate in that directory."""
import os
import socket
import ssl
import sys

import ZEO

work, server, *only = sys.argv[1:]
host, port = server.rsplit(':', 1)


def context(authority, client):
    c = ssl.create_default_context(cafile=os.path.join(work, authority, 'ca.pem'))
    c.verify_flags |= ssl.VERIFY_X509_STRICT
    c.load_cert_chain(os.path.join(work, client + '.pem'), os.path.join(work, client + '.key'))
    return c


if not only:
    storage = ZEO.client((host, int(port)), ssl=context('ca', 'ca/zope1'), ssl_server_hostname='localhost', wait_timeout=30)
    storage.loadBefore(b'\0' * 8, b'\x7f' + b'\xff' * 7)
    storage.close()
    print('good root')

# ZEO's client tries again for ever, so these are handshakes alone, with the first bytes of the server.
for name, authority, client, hostname in [(only[0], 'ca', only[0], 'localhost')] if only else [
    ('good', 'ca', 'ca/zope1', 'localhost'),
    ('name', 'ca', 'ca/zope1', 'elsewhere'),
    ('authority', 'other', 'ca/zope1', 'localhost'),
    ('ended', 'ca', 'past', 'localhost'),
    ('client', 'ca', 'other/zope1', 'localhost'),
]:
    try:
        with socket.create_connection((host, int(port)), 30) as plain:
            with context(authority, client).wrap_socket(plain, server_hostname=hostname) as s:
                print(name, 'greeted' if s.recv(4) else 'closed')
    except ssl.SSLCertVerificationError as e:
        print(name, 'refuses:', e.verify_message)
    except ssl.SSLError as e:
        print(name, 'is refused:', e.reason)
