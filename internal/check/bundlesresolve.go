package check

import (
	"context"
	"fmt"
	"hash/maphash"

	"github.com/dirstorage/dirstorage/internal/bundle"
	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/internal/layout"
)

// namedMembers is how many findings about members one bundle has.
const namedMembers = 1000

// wanted is an entry of the index that is looked for.
type wanted struct {
	memberKey
	there, head bool
}

// resolve names the members in which a bundle and its index differ, and visits those of the
// index that were not visited: each has its own finding if it cannot be read.
func (r *reading) resolve(ctx context.Context, w *worker, differ *[differBuckets]bool) {
	want := make(map[layout.Name]wanted)
	var unvisited []found
	number := int64(0)
	note := func(n layout.Name, at bundle.Place, head bool) {
		k := keyOf(n, r.frames[at.Frame], at)
		there := !r.p.gone.Has(number)
		number++
		if !differ[maphash.Comparable(r.v.seed, k)%differBuckets] {
			return
		}
		if _, ok := r.damaged.Load(at.Frame); !ok {
			want[n] = wanted{k, there, head}
		} else if there {
			unvisited = r.v.append(unvisited, r.p, n, head)
		}
	}
	for e, err := range r.p.RevisionsFrom(0) {
		if err != nil {
			return
		}
		note(e.Name(), e.Place, r.p.heads.has(number))
	}
	for e, err := range r.p.TransactionsFrom(0) {
		if err != nil {
			return
		}
		note(e.Name(), e.Place, false)
	}
	extra := r.extra(ctx, w, differ, want)
	named := 0
	report := func(n layout.Name, format string, args ...any) {
		if named++; named <= namedMembers {
			f := bundleFault(BundleMember, r.p.path, format, args...)
			f.OID, f.HasOID, f.TID = n.OID, n.Kind == layout.KindRevision, n.TID
			r.visit.damage(f)
		}
	}
	for n, k := range want {
		if k.there {
			unvisited = r.v.append(unvisited, r.p, n, k.head)
		}
		if m, ok := extra[n]; ok {
			report(n, "the index says of %s: %s; it is: %s", n, k, m)
			delete(extra, n)
			continue
		}
		report(n, "the index has %s, and it is not in the file", n)
	}
	for n, m := range extra {
		report(n, "%s is in the file, %s, and the index does not have it", n, m)
	}
	if named > namedMembers {
		r.visit.damage(Finding{Kind: TooMany, Severity: Damage, Path: r.p.path, Detail: fmt.Sprintf("%s of kind %s", human.Plural(int64(named-namedMembers), "more finding", "more findings"), BundleMember)})
	}
	for len(unvisited) > 0 && ctx.Err() == nil {
		n := min(len(unvisited), batchSize)
		r.visit.files(ctx, w, unvisited[:n])
		unvisited = unvisited[n:]
	}
}

// extra reads the frames again. It takes the members out of want that are as the index says, and
// returns the others.
func (r *reading) extra(ctx context.Context, w *worker, differ *[differBuckets]bool, want map[layout.Name]wanted) map[layout.Name]memberKey {
	extra := make(map[layout.Name]memberKey)
	for i, f := range r.frames {
		if _, ok := r.damaged.Load(uint32(i)); ok || ctx.Err() != nil || w.other.decode(r.p, f) != nil {
			continue
		}
		for m, err := range r.p.Members(f, w.other.plain) {
			if err != nil {
				break
			}
			k := keyOf(m.Name, f, bundle.Place{Block: m.Block, Flags: flagsOf(m.Name, m.Content), Length: uint32(len(m.Content))})
			if !differ[maphash.Comparable(r.v.seed, k)%differBuckets] {
				continue
			}
			if want[m.Name].memberKey == k {
				delete(want, m.Name)
			} else {
				extra[m.Name] = k
			}
		}
	}
	return extra
}

func (k memberKey) String() string {
	return fmt.Sprintf("in the frame at %d, from byte %d on, %d bytes, flags %d", k.frame, (int(k.block)-1)*512, k.length, k.flags)
}
