"""A ZEO server of a FileStorage with a damaged record, until its standard input ends.

damagedserver.py FILE ROUNDS ROUND FIELD: ROUNDS transactions for each ten of 100 objects, with the damage in the
middle of one of round ROUND (-1: no damage). FIELD is that of the record's header: oid, tid or transaction. It
writes the oid and tid of the record, and the address.
"""
import os
import struct
import sys
import threading

from ZEO.StorageServer import StorageServer
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.utils import p64, z64

path, rounds, damaged, field = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
storage = FileStorage(path)
tids = {}
for n in range(rounds):
    for first in range(0, 100, 10):
        t = TransactionMetaData()
        storage.tpc_begin(t)
        oids = [p64(oid) for oid in range(first, first + 10)]
        for oid in oids:
            storage.store(oid, tids.get(oid, z64), b'\x80\x03cm\nC\n.\x80\x03K%c.' % n, '', t)
        storage.tpc_vote(t)
        tid = storage.tpc_finish(t)
        for oid in oids:
            tids[oid] = tid
storage.close()
if damaged >= 0:
    for n, t in enumerate(FileIterator(path)):
        if n == damaged * 10 + 5:
            record = list(t)[5]
            break
    offset = {'oid': 0, 'tid': 8, 'transaction': 24}[field]
    with open(path, 'r+b') as f:
        f.seek(record.pos + offset)
        f.write(struct.pack('>Q', 12345))
    print(record.oid.hex(), record.tid.hex(), flush=True)
storage = FileStorage(path)
server = StorageServer(('127.0.0.1', 0), {'1': storage})
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
print('%s:%d' % server.addr, flush=True)
server.loop()
