package inspect_test

import (
	"context"
	"maps"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/inspect"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// eachFormat runs a parallel test over all five formats.
func eachFormat(t *testing.T, test func(t *testing.T, s *engine.Storage, b *inspect.Browser)) {
	t.Parallel()
	for _, format := range []string{"bundled", "bushy", "chunky", "lawn", "flat"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			s := open(t, engine.CreateOptions{Format: format})
			test(t, s, browser(t, s, inspect.Options{}))
		})
	}
}

func open(t testing.TB, o engine.CreateOptions) *engine.Storage {
	t.Helper()
	set := map[string]string{"storage.check_dangling_references": "0"}
	maps.Copy(set, o.Set)
	o.Set = set
	return enginetest.Open(t, enginetest.Home(t, o), engine.Options{})
}

// browser is one that reads the index of references in the HOME of the storage.
func browser(t testing.TB, s *engine.Storage, o inspect.Options) *inspect.Browser {
	t.Helper()
	home, err := vfs.OS(s.Home())
	if err != nil {
		t.Fatal(err)
	}
	o.Home = home
	return inspect.NewBrowser(s, o)
}

// store commits one object.
func store(t testing.TB, s *engine.Storage, oid zodb.OID, record []byte) zodb.TID {
	t.Helper()
	return enginetest.Commit(t, s, enginetest.Change{OID: oid, Data: record})
}

// flush has everything in A, and not in the log.
func flush(t testing.TB, s *engine.Storage) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := s.EnterSnapshot(ctx, "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.LeaveSnapshot(ctx, "test"); err != nil {
		t.Fatal(err)
	}
}

// Objects of the sites of tests.
const (
	root   zodb.OID = 0
	app    zodb.OID = 1
	folder zodb.OID = 2
	tree   zodb.OID = 3
	left   zodb.OID = 4
	right  zodb.OID = 5
	news   zodb.OID = 6
	zebra  zodb.OID = 7
	notes  zodb.OID = 8
)

// site commits a root object, an application, and a folder with a BTree of two buckets.
func site(t testing.TB, s *engine.Storage) zodb.TID {
	t.Helper()
	const module = "BTrees.OOBTree"
	item := Object("Products.News", "Item", Dict(Text("title"), Text("News")))
	change := func(oid zodb.OID, record []byte) enginetest.Change {
		return enginetest.Change{OID: oid, Data: record}
	}
	return enginetest.CommitWith(t, s, enginetest.Options{Meta: zodb.TxnMeta{User: []byte("ann"), Description: []byte("make a site")}},
		change(root, Object("persistent.mapping", "PersistentMapping", Dict(Text("data"), Dict(Text("Application"), Ref(app, "OFS.Application", "Application"))))),
		change(app, Object("OFS.Application", "Application", Dict(
			Text("title"), Text("App"), Text("Plone"), Ref(folder, "Products.CMFPlone", "Portal"),
			Text("settings"), Dict(Text("deep"), Dict(Text("notes"), Ref(notes, "m", "Notes"), Text("color"), Text("red")))))),
		change(folder, Object("Products.CMFPlone", "Portal", Dict(Text("id"), Text("Plone"), Text("_tree"), Ref(tree, module, "OOBTree")))),
		change(tree, Object(module, "OOBTree", Tuple(Tuple(Ref(left, module, "OOBucket"), Text("o"), Ref(right, module, "OOBucket")), Ref(left, module, "OOBucket")))),
		change(left, Object(module, "OOBucket", Tuple(Tuple(Text("about"), Ref(notes, "m", "Notes"), Text("news"), Ref(news, "Products.News", "Item")), Ref(right, module, "OOBucket")))),
		change(right, Object(module, "OOBucket", Tuple(Tuple(Text("o"), Int(1), Text("zebra"), Ref(zebra, "Products.News", "Item"))))),
		change(news, item), change(zebra, item), change(notes, Object("m", "Notes", List(Int(1), Int(2)))),
	)
}
