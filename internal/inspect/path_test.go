package inspect_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/inspect"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestPathsLeadFromTheRootObject(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		site(t, s)
		for _, tc := range []struct {
			path    string
			want    zodb.OID
			inside  string
			missing string
			names   string // one of them
		}{
			{"/", root, "", "", ""},
			{"/Application", app, "", "", ""},
			{"Application/Plone/", folder, "", "", ""},
			{"/Application/Plone/news", news, "", "", ""},
			{"/Application/Plone/zebra", zebra, "", "", ""},
			{"/Application/Plone/_tree", tree, "", "", ""},
			{"/Application/Plone/_tree/about", notes, "", "", ""},
			{"/Application/Plone/o", folder, "1", "", ""},
			{"/Application/title", app, "'App'", "", ""},
			{"/Application/settings/deep/notes", notes, "", "", ""},
			{"/Application/settings/deep/color", app, "'red'", "", ""},
			{"/Application/settings/none", app, "", "none", "deep"},
			{"/Plone", root, "", "Plone", "Application"},
			{"/Application/Plone/none", folder, "", "none", "about"},
			{"/Application/Plone/news/title/more", news, "", "more", ""},
		} {
			p, err := b.Resolve(t.Context(), tc.path)
			if err != nil {
				t.Fatalf("%s: %v", tc.path, err)
			}
			if p.OID != tc.want || p.Inside != tc.inside || p.Missing != tc.missing || tc.names != "" && !slices.Contains(p.Names, tc.names) {
				t.Errorf("%s: %+v", tc.path, p)
			}
		}
		p, err := b.Resolve(t.Context(), "/Application/settings/deep/notes")
		if err != nil || len(p.Steps) != 3 || p.Steps[2] != (inspect.Step{Name: "settings/deep/notes", OID: notes}) {
			t.Errorf("steps %+v, %v", p.Steps, err)
		}
		if _, err := b.Resolve(t.Context(), strings.Repeat("/a", 1000)); err == nil {
			t.Error("a path of 1,000 names is followed")
		}
	})
}

func TestPathsThroughStrangeMappings(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	const module = "BTrees.IOBTree"
	store(t, s, root, Object("persistent.mapping", "PersistentMapping", Dict(
		Text("data"), Dict(Text("ints"), Ref(20, module, "IOBTree"), Text("loop"), Ref(21, module, "IOBTree"), Text("broken"), Ref(22, "m", "C"),
			Text("none"), Ref(23, "m", "C"), Text("set"), Ref(24, module, "IITreeSet"), Text("slots"), Ref(25, "m", "C")))))
	store(t, s, 20, Object(module, "IOBTree", Tuple(Tuple(Tuple(Tuple(Int(5), Ref(1, "m", "C"), Int(300), Text("inside")))))))
	store(t, s, 21, Object(module, "IOBTree", Tuple(Tuple(Ref(21, module, "IOBTree"), Int(5), Ref(21, module, "IOBTree")), Ref(21, module, "IOBTree"))))
	store(t, s, 22, []byte("garbage"))
	store(t, s, 24, Object(module, "IITreeSet", Tuple(Tuple(Tuple(Tuple(Int(5), Int(9)))))))
	store(t, s, 25, Object("m", "C", Tuple(None, Dict(Text("slot"), Ref(1, "m", "C")))))
	store(t, s, 1, Object("m", "C", None))
	b := browser(t, s, inspect.Options{})
	for _, tc := range []struct {
		path        string
		want        zodb.OID
		inside, why string
	}{
		{"/ints/5", 1, "", ""}, {"/ints/300", 20, "'inside'", ""}, {"/ints/6", 20, "", ""}, {"/ints/x", 20, "", ""},
		{"/loop/4", 21, "", "deeper"}, {"/broken/x", 22, "", "cannot be decoded"}, {"/none/x", 23, "", "does not exist"},
		{"/set/9", 24, "9", ""}, {"/slots/slot", 1, "", ""}, {"/set/9/x", 24, "", "inside a record"},
	} {
		p, err := b.Resolve(t.Context(), tc.path)
		if err != nil || p.OID != tc.want || p.Inside != tc.inside || !strings.Contains(p.Why, tc.why) || tc.why == "" && p.Why != "" {
			t.Errorf("%s: %+v, %v", tc.path, p, err)
		}
	}
}
