"""A Python client that stays: for each line of input it commits, and prints the value that it wrote.

Arguments: file of the authorities, certificate, key, host:port of a server."""
import ssl
import sys

import transaction
import ZEO

authority, certificate, key, server = sys.argv[1:]
host, port = server.rsplit(':', 1)
context = ssl.create_default_context(cafile=authority)
context.load_cert_chain(certificate, key)
db = ZEO.DB((host, int(port)), ssl=context, ssl_server_hostname='localhost', wait_timeout=30)
connection = db.open()
for line in sys.stdin:
    connection.root()['value'] = line.strip()
    transaction.commit()
    print('committed', connection.root()['value'], flush=True)
db.close()
