package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/vfs"
)

// locks takes a lock twice, and has another process take it.
func (x *examination) locks(ctx context.Context) error {
	name := in("flock")
	held, err := x.o.FS.Lock(name)
	if err != nil {
		if vfs.Passes(err) {
			return err
		}
		x.find("lock-failed", "%v", err)
		return nil
	}
	defer held.Close() //nolint:errcheck // nothing was written under it
	second, err := x.o.FS.Lock(name)
	switch {
	case err == nil:
		x.find("lock-not-exclusive", "a lock was taken twice")
		return second.Close()
	case vfs.Passes(err):
		return err
	case !errors.Is(err, vfs.ErrLocked):
		x.find("lock-failed", "the second try of a lock: %v", err)
		return nil
	}
	if x.o.Quick {
		return nil
	}
	if x.o.TryLock == nil {
		x.find("lock-not-tried", "a lock excludes others in this process")
		return nil
	}
	got, err := x.o.TryLock(ctx, x.o.FS.Path(name))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		x.find("lock-not-tried", "%v", err)
	case got:
		x.find("lock-not-exclusive", "another process took a lock that is held here")
	default:
		x.good("lock", "a lock that is held is refused to this and to another process")
	}
	return nil
}

// exchange swaps two names.
func (x *examination) exchange(context.Context) error {
	if x.o.Quick {
		return nil
	}
	a, b := in("exchange-a"), in("exchange-b")
	if err := errors.Join(x.put(a, []byte("a")), x.put(b, []byte("b"))); err != nil {
		return err
	}
	err := x.o.FS.Exchange(a, b)
	if vfs.Passes(err) {
		return err
	}
	if err != nil {
		x.find("exchange-missing", "two names cannot be exchanged: %v", err)
		return nil
	}
	isA, errA := x.o.FS.ReadFile(a)
	isB, errB := x.o.FS.ReadFile(b)
	if errA != nil || errB != nil || string(isA) != "b" || string(isB) != "a" {
		x.find("exchange-missing", "an exchange of two names succeeded and did not exchange them")
		return nil
	}
	x.good("exchange", "two names are exchanged at once")
	return nil
}

// links gives a file a second name.
func (x *examination) links(context.Context) error {
	name, second := in("link"), in("link-second")
	if err := x.put(name, []byte("linked")); err != nil {
		return err
	}
	err := x.o.FS.Link(name, second)
	if vfs.Passes(err) {
		return err
	}
	if err != nil {
		x.find("links-missing", "no hard link can be made: %v", err)
		return nil
	}
	one, err := x.o.FS.Stat(name)
	two, err2 := x.o.FS.Stat(second)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	if one.Ino != two.Ino {
		x.find("links-missing", "a hard link is a copy")
		return nil
	}
	x.good("links", "hard links can be made")
	return nil
}

// Names of the trial. The longest name of a HOME has about 90 characters.
const (
	mixedCase = "oAbC.c"
	lowerCase = "oabc.c"
	composed  = "caf\u00e9"
	apart     = "cafe\u0301"
)

// names makes files with unusual names, and looks for them.
func (x *examination) names(context.Context) error {
	if x.o.Quick {
		return nil
	}
	long := "long-" + strings.Repeat("n", 115)
	for _, name := range []string{mixedCase, composed} {
		if err := x.put(in(name), nil); err != nil {
			if name == composed && !vfs.Passes(err) {
				x.find("names-unicode", "a name with an accent is refused: %v", err)
				continue
			}
			return err
		}
	}
	if err := x.put(in(long), nil); vfs.Passes(err) {
		return err
	} else if err != nil {
		x.find("names-short", "a name of %d characters: %v", len(long), err)
	}
	var listed []string
	for e, err := range x.o.FS.List(layout.ProbeDir) {
		if err != nil {
			return err
		}
		listed = append(listed, e.Name)
	}
	_, folded := x.o.FS.Stat(in(lowerCase))
	switch {
	case !slices.Contains(listed, mixedCase):
		x.find("names-changed", "a file that was made as %s is listed under another name", mixedCase)
	case !errors.Is(folded, fs.ErrNotExist):
		x.find("names-case", "%s and %s are one file", mixedCase, lowerCase)
	}
	_, decomposed := x.o.FS.Stat(in(apart))
	if !x.has("names-unicode") && (!slices.Contains(listed, composed) || !errors.Is(decomposed, fs.ErrNotExist)) {
		x.find("names-unicode", "two spellings of a name with an accent are one file, or it is listed in another spelling")
	}
	for _, k := range []string{"names-changed", "names-case", "names-unicode", "names-short"} {
		if x.has(k) {
			return nil
		}
	}
	x.good("names", "names stay as they are, up to %d characters at least", len(long))
	return nil
}

// tolerance is the difference of clocks that is not worth a word: time stamps are of the last tick.
const tolerance = 2 * time.Second

// times sets a time stamp, and compares that of a new file with the clock.
func (x *examination) times(context.Context) error {
	before := x.o.Now()
	name := in("times")
	if err := x.put(name, []byte("now")); err != nil {
		return err
	}
	info, err := x.o.FS.Stat(name)
	if err != nil {
		return err
	}
	after := x.o.Now()
	off := time.Duration(0)
	switch {
	case info.ModTime.Before(before.Add(-tolerance)):
		off = info.ModTime.Sub(before)
	case info.ModTime.After(after.Add(tolerance)):
		off = info.ModTime.Sub(after)
	}
	// An odd second, and all digits behind it.
	set := time.Date(2026, 3, 1, 10, 0, 1, 123456789, time.UTC)
	err = x.o.FS.SetModTime(name, set)
	if vfs.Passes(err) {
		return err
	}
	if err == nil {
		info, err = x.o.FS.Stat(name)
	}
	lost := set.Sub(info.ModTime)
	switch {
	case err != nil:
		x.find("times-refused", "%v", err)
	case lost.Abs() > time.Hour:
		x.find("times-refused", "a time stamp that was set is %s off", lost)
	case lost.Abs() >= time.Second:
		x.find("times-coarse", "a time stamp that was set is %s off", lost)
	}
	if off != 0 {
		x.find("times-clock", "the time stamp of a new file is %s", aheadOrBehind(off, "the clock of this machine"))
	}
	if err == nil && off == 0 && lost.Abs() < time.Second {
		x.good("times", "time stamps have the clock of this machine, and lose %s", lost)
	}
	return nil
}

// aheadOrBehind says a difference of two clocks.
func aheadOrBehind(d time.Duration, of string) string {
	if d < 0 {
		return fmt.Sprintf("%s behind %s", round(-d), of)
	}
	return fmt.Sprintf("%s ahead of %s", round(d), of)
}
