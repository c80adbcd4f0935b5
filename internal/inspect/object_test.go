package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/engine/enginetest"
	"github.com/dirstorage/dirstorage/internal/inspect"
	"github.com/dirstorage/dirstorage/internal/pickle"
	. "github.com/dirstorage/dirstorage/internal/pickle/pickletest"
	"github.com/dirstorage/dirstorage/zodb"
)

func TestAnOidIsReadInEachForm(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text string
		want zodb.OID
		note bool
	}{
		{"000000000000001A", 0x1a, false}, {"000000000000001a", 0x1a, false}, {"0x1a", 0x1a, false}, {"26", 26, true}, {"7", 7, false}, {"1a", 0x1a, false},
		{"0x0", 0, false}, {"18446744073709551615", 1<<64 - 1, false},
	} {
		oid, note, err := inspect.ParseOID(tc.text)
		if err != nil || oid != tc.want || (note != "") != tc.note {
			t.Errorf("%s: %v, %q, %v", tc.text, oid, note, err)
		}
	}
	for _, text := range []string{"", "0x", "x", "0x11111111111111111", "-1", "1 ", "/Plone", "99999999999999999999999"} {
		if oid, _, err := inspect.ParseOID(text); err == nil {
			t.Errorf("%q is taken for %v", text, oid)
		}
	}
}

func TestAnObjectIsShownWithItsFacts(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		tid := site(t, s)
		second := enginetest.Commit(t, s, enginetest.Change{OID: news, Data: oldNews(), Blob: "the content"})
		for range 2 { // from the log, and from files
			o, err := b.Object(t.Context(), app, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !o.Exists || o.Serial != tid || o.Next != 0 || o.Previous != 0 || o.Class != "OFS.Application.Application" || o.Problem != "" || o.Blob != nil {
				t.Errorf("%+v", o)
			}
			if !strings.Contains(o.Text.String, "'title': 'App',\n") || len(o.Text.Links) != 2 {
				t.Errorf("text with %d links:\n%s", len(o.Text.Links), o.Text.String)
			}
			var refs []string
			for _, r := range o.References {
				refs = append(refs, fmt.Sprintf("%s %s %v", r.OID, r.Class, r.Exists))
			}
			if diff := cmp.Diff([]string{"0000000000000002 Products.CMFPlone.Portal true", "0000000000000008 m.Notes true"}, refs); diff != "" {
				t.Errorf("references (-want +got):\n%s", diff)
			}
			now, err := b.Object(t.Context(), news, 0)
			if err != nil {
				t.Fatal(err)
			}
			if now.Serial != second || now.Previous != tid || now.Blob == nil || now.Blob.Size != 11 || now.Blob.Sum == "" || now.Blob.Problem != "" {
				t.Errorf("%+v, blob %+v", now, now.Blob)
			}
			before, err := b.Object(t.Context(), news, second-1)
			if err != nil || before.Serial != tid || before.Next != second || before.Blob != nil {
				t.Errorf("before: %+v, %v", before, err)
			}
			flush(t, s)
		}
	})
}

// oldNews is the record of a news item with another title.
func oldNews() []byte {
	return Object("Products.News", "Item", Dict(Text("title"), Text("Old news")))
}

func TestObjectsThatAreNotThere(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		site(t, s)
		store(t, s, app, Object("m", "C", Tuple(Ref(999, "m", "C"), Ref(notes, "m", "Notes"))))
		gone := enginetest.Commit(t, s, enginetest.Change{OID: notes})
		o, err := b.Object(t.Context(), 999, 0)
		if err != nil || o.Exists || o.Reason == "" || o.Serial != 0 {
			t.Errorf("never stored: %+v, %v", o, err)
		}
		o, err = b.Object(t.Context(), notes, 0)
		if err != nil || o.Exists || o.Reason == "" || o.Serial != gone || o.Previous == 0 {
			t.Errorf("deleted: %+v, %v", o, err)
		}
		o, err = b.Object(t.Context(), notes, 1)
		if err != nil || o.Exists || !strings.Contains(o.Reason, "no revision that early") {
			t.Errorf("too early: %+v, %v", o, err)
		}
		o, err = b.Object(t.Context(), app, 0)
		if err != nil || len(o.References) != 2 || o.References[0].Exists || o.References[1].Exists {
			t.Errorf("dangling references: %+v, %v", o, err)
		}
	})
}

// TestRecordsThatCannotBeDecodedAreShownAsBytes is about hostile and broken records.
func TestRecordsThatCannotBeDecodedAreShownAsBytes(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	b := browser(t, s, inspect.Options{Memory: 1 << 20, Record: 4 << 20})
	for i, tc := range []struct {
		name    string
		record  []byte
		problem string
		class   string
		hex     string
	}{
		{"unknown opcode", append(Object("m", "C", "N")[:8], 0xff), "no such opcode: 0xff", "m.C", "cm.C"},
		{"no pickle", []byte("<script>alert(1)</script>"), "pickle at offset", "", "<script>alert(1)"},
		{"cut off", Object("m", "C", Text("abc"))[:14], "cut off", "m.C", ""},
		{"buffers", []byte("\x80\x05cm\nC\n.\x80\x05\x97."), "buffers outside the pickle", "m.C", ""},
		{"protocol", []byte("\x80\x09N."), "protocol 9", "", ""},
		{"too many values", Object("m", "C", "]("+strings.Repeat("N", 200_000)+"e"), "limit of memory", "m.C", ""},
		{"too long", Object("m", "C", Text(strings.Repeat("a", 5<<20))), "those of more than 4194304 are not decoded", "", "cm.C"},
		{"something behind", append(Object("m", "C", "N"), 'N'), "something follows", "m.C", ""},
		{"damaged zlib", []byte(".zabcdef"), "zlib", "", ".zabcdef"},
	} {
		oid := zodb.OID(i + 10)
		store(t, s, oid, tc.record)
		o, err := b.Object(t.Context(), oid, 0)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if !o.Exists || o.Text != nil || !strings.Contains(o.Problem, tc.problem) || o.Class != tc.class || o.Size != len(tc.record) {
			t.Errorf("%s: class %q, problem %q, text %v, %d bytes", tc.name, o.Class, o.Problem, o.Text, o.Size)
		}
		hex := strings.Join(o.Hex, "\n")
		if !strings.Contains(hex, tc.hex) || len(o.Hex) == 0 || len(o.Hex) > 9 {
			t.Errorf("%s: bytes\n%s", tc.name, hex)
		}
	}
}

func TestAnEndedContextEndsAnAnswer(t *testing.T) {
	t.Parallel()
	s := open(t, engine.CreateOptions{})
	site(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := browser(t, s, inspect.Options{})
	if _, err := b.Object(ctx, app, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Object: %v", err)
	}
	if _, err := b.Resolve(ctx, "/Application"); !errors.Is(err, context.Canceled) {
		t.Errorf("Resolve: %v", err)
	}
	if _, err := b.Compare(ctx, app, 0, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Compare: %v", err)
	}
	if r, err := b.Referrers(ctx, app, true); err != nil || r.Complete || r.Looked != 0 {
		t.Errorf("Referrers: %+v, %v", r, err)
	}
}

// leaving is the context of a client that goes while a record is decoded.
type leaving struct {
	context.Context
	asked, goesAt int
}

func (l *leaving) Err() error {
	if l.asked++; l.asked >= l.goesAt {
		return context.Canceled
	}
	return nil
}

// TestADecodingEndsWhenItsClientLeaves, and the next one has the place.
func TestADecodingEndsWhenItsClientLeaves(t *testing.T) {
	t.Parallel()
	b := browser(t, open(t, engine.CreateOptions{}), inspect.Options{})
	large := Object("m", "C", strings.Repeat("N0", 1<<20)+None)
	ctx := &leaving{Context: t.Context(), goesAt: 3}
	if err := b.Parse(ctx, large, func(*pickle.Tree) { t.Error("it was decoded to its end") }); !errors.Is(err, context.Canceled) || ctx.asked != ctx.goesAt {
		t.Errorf("asked %d times, %v", ctx.asked, err)
	}
	decoded := false
	if err := b.Parse(t.Context(), large, func(*pickle.Tree) { decoded = true }); err != nil || !decoded {
		t.Errorf("the next one: %v", err)
	}
}

func TestHistoryComesInParts(t *testing.T) {
	eachFormat(t, func(t *testing.T, s *engine.Storage, b *inspect.Browser) {
		var tids []zodb.TID
		for i := range 7 {
			tids = append(tids, store(t, s, root, Object("m", "C", Int(i))))
			if i == 3 {
				flush(t, s)
			}
		}
		var got []zodb.TID
		for from := zodb.TID(0); ; {
			h, err := b.History(t.Context(), root, from, 3)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range h.Entries {
				got = append(got, e.TID)
			}
			if from = h.Next; from == 0 {
				break
			}
		}
		if len(got) != 7 || got[0] != tids[6] || got[6] != tids[0] || got[3] != tids[3] {
			t.Errorf("got %v, want %v, the newest first", got, tids)
		}
		if _, err := b.History(t.Context(), 77, 0, 3); !errors.Is(err, zodb.ErrNotFound) {
			t.Errorf("of no object: %v", err)
		}
	})
}
