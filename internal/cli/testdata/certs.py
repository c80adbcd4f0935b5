"""Python's client with certificates of the command certs. For each way it prints its name and what
came of it.

Arguments: directory with the authorities ca and other, host:port of a server."""
import os
import ssl
import sys

import ZEO

work, server = sys.argv[1:]
host, port = server.rsplit(':', 1)


def context(authority, client):
    c = ssl.create_default_context(cafile=os.path.join(work, authority, 'ca.pem'))
    c.verify_flags |= ssl.VERIFY_X509_STRICT
    c.load_cert_chain(os.path.join(work, client + '.pem'), os.path.join(work, client + '.key'))
    return c


for name, authority, client, hostname in [
    ('good', 'ca', 'ca/zope1', 'localhost'),
    ('name', 'ca', 'ca/zope1', 'elsewhere'),
    ('authority', 'other', 'ca/zope1', 'localhost'),
    ('client', 'ca', 'other/zope1', 'localhost'),
]:
    try:
        storage = ZEO.client((host, int(port)), ssl=context(authority, client), ssl_server_hostname=hostname,
                             wait=name == 'good', wait_timeout=30)
        storage.loadBefore(b'\0' * 8, b'\x7f' + b'\xff' * 7) if name == 'good' else storage.ping()
        print(name, 'root')
        storage.close()
    except Exception as e:
        print(name, 'refused' if name != 'good' else repr(e))
