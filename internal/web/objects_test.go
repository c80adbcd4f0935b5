package web

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/dirstorage/dirstorage/internal/backup"
	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/internal/objstore"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/internal/snapshot"
	"github.com/dirstorage/dirstorage/internal/vfs"
	"github.com/dirstorage/dirstorage/zodb"
)

// contentSite is a site whose storage has contents, backups in a repository, and all permissions.
func contentSite(t testing.TB) (*testSite, objstore.Store) {
	t.Helper()
	fsys, err := vfs.OS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	repo := objstore.NewDir(fsys)
	s := newSite(t, func(o *Options) {
		storages := o.Storages
		o.Storages = func() []Storage {
			list := storages()
			list[0].Backups, list[0].BlobDownload = func() objstore.Store { return repo }, true
			list[0].DryRun = func(ctx context.Context, _ int) (zodb.PackResult, error) {
				return list[0].Reader.(*engine.Storage).Pack(ctx, zodb.PackOptions{DryRun: true})
			}
			return list
		}
	})
	fillContents(t, s.storage)
	return s, repo
}

// Objects of the storage.
const (
	theApp, theFolder, theTree, theBucket, theNews, theFile, theHostile zodb.OID = 0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x107
)

// article is a news item with a text of lines.
func article(title string, lines ...string) []byte {
	moment := Call(Global("datetime", "datetime"), Tuple(Bytes("\x07\xea\x03\x01\x0a\x00\x05\x00\x00\x00")), "")
	return Object("plone.app.contenttypes.content", "NewsItem", Dict(
		Text("id"), Text("news"), Text("title"), Text(title), Text("text"), Text(strings.Join(lines, "\n")), Text("created"), moment,
		Text("subjects"), Tuple(Text("library"), Text("city")), Text("__parent__"), Ref(theFolder, "Products.CMFPlone.Portal", "PloneSite"),
		Text("image"), Ref(theFile, "plone.namedfile.file", "NamedBlobImage")))
}

func fillContents(t testing.TB, s *engine.Storage) {
	t.Helper()
	const trees = "BTrees.OOBTree"
	change := func(oid zodb.OID, record []byte) enginetest.Change {
		return enginetest.Change{OID: oid, Data: record}
	}
	var items []string
	for _, text := range hostile() {
		items = append(items, Text(text), Tuple(Text(text), Bytes(text), Global(strings.NewReplacer("\n", " ").Replace(text), "X")))
	}
	meta := func(text string) enginetest.Options {
		return enginetest.Options{Meta: zodb.TxnMeta{User: []byte("admin"), Description: []byte(text)}}
	}
	body := []string{"The new library opens on Monday.", "", "It has 40,000 books,", "a café,", "and a garden on the roof.", "", "Opening times:", "Monday to Friday 9 to 18", "Saturday 10 to 16"}
	enginetest.CommitWith(t, s, meta("make the site"),
		change(0, Object("persistent.mapping", "PersistentMapping", Dict(Text("data"), Dict(Text("Application"), Ref(theApp, "OFS.Application", "Application"))))),
		change(theApp, Object("OFS.Application", "Application", Dict(Text("title"), Text("Zope"), Text("Plone"), Ref(theFolder, "Products.CMFPlone.Portal", "PloneSite")))),
		change(theFolder, Object("Products.CMFPlone.Portal", "PloneSite", Dict(Text("id"), Text("Plone"), Text("title"), Text("The city"), Text("_tree"), Ref(theTree, trees, "OOBTree"),
			Text("notes"), Ref(theHostile, hostile()[0], hostile()[1])))),
		change(theTree, Object(trees, "OOBTree", Tuple(Tuple(Ref(theBucket, trees, "OOBucket")), Ref(theBucket, trees, "OOBucket")))),
		change(theBucket, Object(trees, "OOBucket", Tuple(Tuple(Text("news"), Ref(theNews, "plone.app.contenttypes.content", "NewsItem"))))),
		change(theNews, article("A library", body...)),
		enginetest.Change{OID: theFile, Data: Object("plone.namedfile.file", "NamedBlobImage", Dict(Text("filename"), Text("roof.jpeg"))), Blob: "<script>the content</script>"},
		change(theHostile, Object("m<script>window.hacked=1</script>", "C\u202e", Dict(items...))),
	)
	body[3] = "a café with 60 seats,"
	enginetest.CommitWith(t, s, meta("/Plone/news edited"), change(theNews, article("A library", body...)))
	body = append(body[:7], "Monday to Friday 8 to 20", "Saturday 10 to 18")
	enginetest.CommitWith(t, s, meta(hostile()[0]), change(theNews, article("The new library", body...)))
}

// theGarbage is an object whose record is no pickle.
const theGarbage zodb.OID = 0x108

func addGarbage(t testing.TB, s *engine.Storage) {
	t.Helper()
	enginetest.Commit(t, s, enginetest.Change{OID: theGarbage, Data: []byte("<script>window.hacked=1</script> no pickle")})
}

// backUp makes a backup.
func backUp(t testing.TB, s *engine.Storage, to objstore.Store, kind backup.Kind) *backup.Manifest {
	t.Helper()
	r, err := backup.Run(context.WithoutCancel(t.Context()), backup.Options{Store: to, Kind: kind, Now: time.Now, Snapshot: snapshot.Options{Home: s.Home(), Now: time.Now}})
	if err != nil {
		t.Fatal(err)
	}
	return r.Backup
}

// fillRepository makes two chains, and verifies a part of them.
func fillRepository(t testing.TB, s *engine.Storage, to objstore.Store) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	full := backUp(t, s, to, backup.Full)
	for i := range 3 {
		enginetest.Commit(t, s, enginetest.Change{OID: zodb.OID(0x200 + i), Data: Object("m", "C", None)})
		backUp(t, s, to, backup.Incremental)
	}
	enginetest.Commit(t, s, enginetest.Change{OID: 0x210, Data: Object("m", "C", None)})
	backUp(t, s, to, backup.Full)
	r, err := backup.Open(ctx, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Verify(ctx, []*backup.Manifest{full}, backup.VerifyOptions{Level: backup.LevelData, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
}

func TestPagesShowObjects(t *testing.T) {
	t.Parallel()
	s, _ := contentSite(t)
	addGarbage(t, s.storage)
	s.login()
	var tids []zodb.TID
	for tid, err := range s.storage.Serials(t.Context(), theNews) {
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	oid := func(o zodb.OID) string { return "oid=" + o.String() }
	for _, tc := range []struct {
		path  string
		wants []string
		lacks string
	}{
		{"/web/object", []string{"Root object", "persistent.mapping.PersistentMapping", `<a href="/web/object?storage=main&oid=0000000000000101">persistent ref`, "Search among about", "Without an index of references"}, ""},
		{"/web/object?find=/Application/Plone/news", []string{"NewsItem", "The new library", "datetime.datetime(2026, 3, 1, 10, 0, 5)", ">news</bdi>", "current</span>", "/Plone/news edited"}, ""},
		{"/web/object?find=0x105", []string{"NewsItem"}, "read as a decimal"},
		{"/web/object?find=261", []string{"NewsItem", "261 is read as a decimal number"}, ""},
		{"/web/object?find=/Application/none", []string{"There is no", "in object " + theApp.String(), "<bdi>title</bdi>"}, ""},
		{"/web/object?find=/Application/title", []string{"ends at a value inside", "'Zope'"}, ""},
		{"/web/object?" + oid(theNews) + "&tid=" + tids[2].String(), []string{"an old revision", "Revision after it", "'a café,\\n'"}, "Revision before it"},
		{"/web/object?" + oid(theNews) + "&search=1", []string{"OOBTree.OOBucket", "All objects were read"}, "Search among"},
		{"/web/object?" + oid(theFile), []string{"28 B", "/web/blob?storage=main&oid=" + theFile.String(), "xxh64:"}, ""},
		{"/web/object?" + oid(0x999), []string{"does not exist", "there is no object of that oid", "No revision of it is kept"}, ""},
		{"/web/object?" + oid(theGarbage), []string{"cannot be shown as text", "pickle at offset", "3c 73 63 72 69 70 74"}, ""},
		{"/web/history?" + oid(theNews), []string{"/Plone/news edited", "make the site", "the oldest", tids[1].String()}, ""},
		{"/web/compare?" + oid(theNews) + "&new=" + tids[1].String(), []string{"1 added, 1 removed", "<ins><span class=\"sr\">added: </span>    'a café with 60 seats,\\n'", "<del>", "Changes after", "/web/transaction?"}, ""},
		{"/web/compare?" + oid(theNews), []string{"Saturday 10 to 18", "⋯", "Changes before"}, ""},
		{"/web/compare?" + oid(theGarbage), []string{"cannot be compared"}, ""},
	} {
		code, body := s.get(tc.path)
		body = html.UnescapeString(body)
		if code != http.StatusOK {
			t.Errorf("%s: %d", tc.path, code)
		}
		for _, want := range tc.wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %q in\n%s", tc.path, want, body)
			}
		}
		if tc.lacks != "" && strings.Contains(body, tc.lacks) {
			t.Errorf("%s: there is %q", tc.path, tc.lacks)
		}
	}
	for path, want := range map[string]int{
		"/web/object?oid=x": 400, "/web/object?find=x y": 400, "/web/object?find=/" + strings.Repeat("a/", 200): 400, "/web/object?tid=1": 400,
		"/web/history?oid=999": 404, "/web/compare?old=x": 400, "/web/blob": 400, "/web/blob?oid=105&tid=" + tids[0].String(): 404, "/web/classes?from=x": 400, "/web/backups?from=x": 400,
	} {
		if code, body := s.get(strings.ReplaceAll(path, " ", "%20")); code != want {
			t.Errorf("%s: %d, want %d\n%s", path, code, want, body)
		}
	}
}

// TestHostileRecordsStayText: of classes, keys, values, references, and bytes that are no pickle.
func TestHostileRecordsStayText(t *testing.T) {
	t.Parallel()
	s, repo := contentSite(t)
	addGarbage(t, s.storage)
	backUp(t, s.storage, repo, backup.Full)
	s.login()
	s.site.contents.of(s.site.o.Storages()[0]).census.Start(0)
	s.waitForCount(t)
	paths := []string{"/web/classes", "/web/backups", "/web/object?find=" + url.QueryEscape("/Application/Plone/notes"), "/web/history?oid=" + theHostile.String(), "/web/compare?oid=" + theHostile.String(),
		"/web/object?oid=" + theFolder.String() + "&search=1", "/web/object?oid=" + theHostile.String() + "&search=1", "/web/object?oid=108", "/web/compare?oid=" + theNews.String()}
	for _, text := range hostile() {
		text = text[:min(len(text), 400)]
		for _, find := range []string{text, "/" + text, "/Application/Plone/notes/" + text, "/Application/Plone/notes/" + text + "/" + text} {
			paths = append(paths, "/web/object?find="+url.QueryEscape(find))
		}
	}
	for _, path := range paths {
		code, body := s.get(path)
		if len(body) > 1<<20 || code >= 500 {
			t.Errorf("%.200s: %d, %d bytes", path, code, len(body))
		}
		for _, bad := range []string{"<script>", "<img src=x", "<svg onload", "</head></main>", "\x00", "\x07", "\x1b", "\u202e", "\u200b", "\ufeff", "\u2028", "ZgotmplZ", `href="javascript`} {
			if strings.Contains(strings.ReplaceAll(body, "<script src=", ""), bad) {
				t.Errorf("%.200s has %q", path, bad)
			}
		}
		if !strings.Contains(body, "</html>") || strings.ToValidUTF8(body, "") != body {
			t.Errorf("%.200s is not whole, or not UTF-8", path)
		}
	}
}

func TestBlobsAreSentAsFilesWhereThatIsAllowed(t *testing.T) {
	t.Parallel()
	s, _ := contentSite(t)
	s.login()
	o, err := s.site.contents.of(s.site.o.Storages()[0]).browser.Object(t.Context(), theFile, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/web/blob?oid=%s&tid=%s", theFile, o.Serial)
	answer, body := s.do(s.client, s.request("GET", path, ""))
	if answer.StatusCode != http.StatusOK || body != "<script>the content</script>" || answer.Header.Get("Content-Type") != "application/octet-stream" ||
		!strings.HasPrefix(answer.Header.Get("Content-Disposition"), "attachment; filename=") || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %v %q", answer.Status, answer.Header, body)
	}
	if answer, _ := s.do(s.browser(), s.request("GET", path, "")); answer.StatusCode != http.StatusSeeOther {
		t.Errorf("without a login: %s", answer.Status)
	}
	other := newSite(t, nil).login()
	if code, body := other.get(path); code != http.StatusForbidden || !strings.Contains(body, "web-allow") {
		t.Errorf("where it is not allowed: %d %s", code, body)
	}
}

// waitForCount waits for the end of a count of classes.
func (s *testSite) waitForCount(t testing.TB) {
	t.Helper()
	hometest.Eventually(t, "the count ends", func() bool {
		under, last := s.site.contents.of(s.site.o.Storages()[0]).census.Last()
		return under == nil && last != nil
	})
}

func TestClassesAreCountedOnDemand(t *testing.T) {
	t.Parallel()
	s, _ := contentSite(t)
	s.login()
	if code, body := s.get("/web/classes"); code != http.StatusOK || !strings.Contains(body, "Count now") || strings.Contains(body, "<table") {
		t.Errorf("before the first count: %d\n%s", code, body)
	}
	form := url.Values{"csrf": {s.csrf()}, "storage": {"main"}, "days": {"3"}}
	answer, body := s.do(s.client, s.request("POST", "/web/classes", form.Encode(), "Origin", s.address))
	if answer.StatusCode != http.StatusSeeOther || answer.Header.Get("Location") != "/web/classes?storage=main" {
		t.Errorf("count: %s\n%s", answer.Status, body)
	}
	s.waitForCount(t)
	_, body = s.get("/web/classes")
	for _, want := range []string{"plone.app.contenttypes.content.NewsItem", "A pack would remove", "Largest objects", "</time> the count began", `value="3"`, "Count again", "persistent.mapping.PersistentMapping"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
	for name, change := range map[string]url.Values{"no token against forgery": {"csrf": {"x"}}, "no number": {"days": {"many"}}, "no such storage": {"storage": {"x"}}} {
		wrong := url.Values{}
		for _, from := range []url.Values{form, change} {
			for k, v := range from {
				wrong[k] = v
			}
		}
		if answer, _ := s.do(s.client, s.request("POST", "/web/classes", wrong.Encode(), "Origin", s.address)); answer.StatusCode < 400 {
			t.Errorf("%s: %s", name, answer.Status)
		}
	}
}

func TestBackupsAreATimeLine(t *testing.T) {
	t.Parallel()
	s, repo := contentSite(t)
	s.login()
	if _, body := s.get("/web/backups"); !strings.Contains(body, "There are no backups of this storage") {
		t.Error(body)
	}
	fillRepository(t, s.storage, repo)
	s.ahead(time.Minute) // the list is read again
	code, body := s.get("/web/backups")
	body = html.UnescapeString(body)
	for _, want := range []string{"5 points to restore to", "4 never verified", "verified: data", "Any transaction can be restored", "Chain 2", "dirstorage restore --to 20", " TARGET", "<svg class=\"strip\""} {
		if !strings.Contains(body, want) {
			t.Errorf("%d: no %q in\n%s", code, want, body)
		}
	}
	if n := strings.Count(body, "<circle"); n != 3 {
		t.Errorf("%d incremental backups on the strip", n)
	}
	if _, body := newSite(t, nil).login().get("/web/backups"); !strings.Contains(body, "backup-repository") {
		t.Errorf("without a repository:\n%s", body)
	}
}
