"""The configurations by which sites connect, with the unchanged client. For each it prints its
name and what came of it: whether a commit, a blob and a second opening showed what was written.

Arguments: directory, host:port of a server, of a read-only one, Unix socket, shared directory of
blobs. The server has the storages 1 and main; main is the one with the shared directory."""
import os
import sys

import transaction
import ZODB.config
from ZODB.blob import Blob
from ZODB.POSException import ReadOnlyError

work, server, frozen, socket, shared = sys.argv[1:]
host, port = server.rsplit(':', 1)
dead = '127.0.0.1:1'


def client(*lines):
    return '<zodb>\n<zeoclient>\n%s\n</zeoclient>\n</zodb>' % '\n'.join(lines)


def storage(*lines):
    return '%%import ZEO\n<zodb>\n<clientstorage>\n%s\n</clientstorage>\n</zodb>' % '\n'.join(lines)


def path(name):
    return os.path.join(work, name)


# As plone.recipe.zope2instance and the image plone-backend write it.
recipe = ['read-only false', 'read-only-fallback false', 'name zeostorage', 'cache-size 128MB']
FORMS = [
    ('least', client('server ' + server)),
    ('recipe', client(*recipe, 'server ' + server, 'storage 1', 'blob-dir ' + path('recipe'), 'shared-blob-dir off',
                      'blob-cache-size 10MB', 'blob-cache-size-check 10', 'client site', 'var ' + work,
                      'min-disconnect-poll 1', 'max-disconnect-poll 5', 'drop-cache-rather-verify true')),
    ('image', client(*recipe, 'var ' + work, 'server ' + server, 'storage main', 'blob-dir ' + path('image'),
                     'shared-blob-dir off', 'drop-cache-rather-verify false')),
    ('shared', client('server ' + server, 'storage main', 'blob-dir ' + shared, 'shared-blob-dir on', 'wait on')),
    ('socket', client('server ' + socket)),
    ('several', client('server ' + dead, 'server ' + server)),
    ('cache', storage('server ' + server, 'cache-path ' + path('client.zec'), 'wait-timeout 10', 'server-sync on',
                      'client-label zope1', 'blob-dir ' + path('blobs'))),
    ('demo', '<zodb>\n<demostorage>\n<zeoclient base>\nserver %s\n</zeoclient>\n</demostorage>\n</zodb>' % server),
    ('fallback', client('server ' + frozen, 'read-only-fallback on')),
    ('read-only', client('server ' + server, 'read-only on')),
]
URIS = [
    ('uri', 'zeo://%s' % server),
    ('uri storage', 'zeo://%s?storage=main&wait_timeout=10&cache_size=50MB&blob_dir=%s' % (server, path('uri'))),
    ('uri database', 'zeo://%s?storage=1&connection_cache_size=20000&connection_pool_size=4&database_name=main' % server),
    ('uri socket', 'zeo://%s?storage=1&client=uri&var=%s' % (socket, work)),
    ('uri demo', 'demo:(zeo://%s)/(memory://)' % server),
    ('uri file', 'zconfig://%s#main' % path('zodb.conf')),
    ('uri read_only', 'zeo://%s?read_only=1' % frozen),
]


def changed(db, name, blob):
    with db.transaction() as c:
        c.root()[name] = c.root().get(name, 0) + 1
        if blob:
            c.root()[name + ' blob'] = Blob(b'of ' + name.encode())


def seen(db, name, blob):
    with db.transaction() as c:
        if blob:
            with c.root()[name + ' blob'].open() as f:
                assert f.read() == b'of ' + name.encode(), name
        return c.root()[name]


def refuses(db):
    transaction.begin()
    c = db.open()
    try:
        c.root()['never'] = 1  # which reads it first
        transaction.commit()
    except ReadOnlyError:
        return True
    finally:
        transaction.abort()
        c.close()
    return False


def run(name, open_db, blob=False, once=False, read_only=False):
    db = open_db()
    if read_only:
        result = 'refuses' if refuses(db) else 'writes'
    else:
        changed(db, name, blob)
        result = seen(db, name, blob)
        if not once:
            db.close()
            db = open_db()
            changed(db, name, blob)
            result = seen(db, name, blob)
    db.close()
    print(name, result)


for name, text in FORMS:
    run(name, lambda: ZODB.config.databaseFromString(text), 'blob-dir' in text and name != 'several',
        once=name == 'demo', read_only=name in ('fallback', 'read-only'))

try:
    import zodburi
    import zodburi.resolvers as resolvers
except ImportError:
    sys.exit()
with open(path('zodb.conf'), 'w') as f:
    f.write('<zodb main>\n<zeoclient>\nserver %s\n</zeoclient>\n</zodb>' % server)


class Entry:
    def __init__(self, name, resolver):
        self.name, self.load = name, lambda: resolver


# In a source tree there are no entry points.
zodburi.entry_points = lambda group: [
    Entry('zeo', resolvers.client_storage_resolver), Entry('demo', resolvers.demo_storage_resolver),
    Entry('memory', resolvers.mapping_storage_resolver), Entry('zconfig', resolvers.zconfig_resolver)]
for name, uri in URIS:
    def open_db():
        factory, keywords = zodburi.resolve_uri(uri)
        return ZODB.DB(factory(), **keywords)
    run(name, open_db, 'blob_dir' in uri, once='demo' in name, read_only='read_only' in name)
