package pack

import (
	"time"

	"github.com/dirstorage/dirstorage/internal/pickle"
	"github.com/dirstorage/dirstorage/internal/record"
	"github.com/dirstorage/dirstorage/internal/settings"
	"github.com/dirstorage/dirstorage/zodb"
)

// Policy selects the revisions that stay of a kept object: the current one, those that
// were current at the threshold or came later, and additional ones by the class of the
// object.
type Policy struct {
	// Threshold is the pack time. It is never later than the last transaction.
	Threshold zodb.TID
	// Classes are those with a rule of their own, as module.Class.
	Classes map[string]settings.Keep
}

// NewPolicy reads the rules of config/settings, which were checked when that was read.
func NewPolicy(threshold zodb.TID, keepClass map[string]string) (Policy, error) {
	p := Policy{Threshold: threshold, Classes: make(map[string]settings.Keep, len(keepClass))}
	for class, value := range keepClass {
		k, err := settings.ParseKeep(value)
		if err != nil {
			return Policy{}, err
		}
		p.Classes[class] = k
	}
	return p, nil
}

// since returns the tid from which on all revisions of a class are kept,
// whether they were current at the threshold or not.
func (p Policy) since(class string) zodb.TID {
	k, ok := p.Classes[class]
	switch {
	case !ok:
		return p.Threshold
	case k.Forever:
		return 0
	case p.Threshold == 0:
		return 0
	}
	at := p.Threshold.Time().Add(-k.Extra)
	if at.Before(epoch) {
		return 0
	}
	return min(p.Threshold, zodb.TIDFromTime(at))
}

// sinceOf returns since of the class of an object, by its current revision.
func (p Policy) sinceOf(current *record.Object) zodb.TID {
	if len(p.Classes) == 0 || len(current.Data) == 0 {
		return p.Threshold
	}
	module, name, err := pickle.Class(current.Data)
	if err != nil {
		return p.Threshold
	}
	return p.since(module + "." + name)
}

// Removes reports whether a pack removes a revision of an object that stays. Current is
// its current revision, and next the one that replaced that revision.
func (p Policy) Removes(current *record.Object, next, tid zodb.TID) bool {
	return !p.keep(next, tid, p.sinceOf(current))
}

// epoch is when tids begin.
var epoch = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

// keep reports whether the revision before one that is kept is kept too; since
// is that of the class. A revision after the threshold hides one that was current
// then, or one after it.
func (p Policy) keep(serial, previous, since zodb.TID) bool {
	return serial > p.Threshold || previous >= since
}
