package cli

import (
	"context"
	"errors"
	"strconv"

	"github.com/dirstorage/dirstorage/internal/human"
	"github.com/dirstorage/dirstorage/zodb"
)

// bringBack undeletes.
func (o *packCommand) bringBack(ctx context.Context, e *env) error {
	stamp := int64(0)
	if o.undelete != "all" {
		var err error
		if stamp, err = strconv.ParseInt(o.undelete, 10, 64); err != nil || stamp <= 0 {
			return usage("--undelete %q: want “all”, or the SECONDS in the names of the files that a pack has put aside", o.undelete)
		}
	}
	var r zodb.UndeleteResult
	if err := o.maintain(ctx, e, "undelete", map[string]int64{"stamp": stamp}, &r); err != nil {
		if r != (zodb.UndeleteResult{}) {
			err = errors.Join(err, o.sayBroughtBack(e, r))
		}
		if ctx.Err() != nil {
			return hint(err, "repeat it, it brings back the rest; or pack, which removes unreferenced objects again")
		}
		return err
	}
	if r == (zodb.UndeleteResult{}) {
		err := hint(errors.New("nothing was put aside by that pack"), "dirstorage status --count %s lists the files put aside by packs; SECONDS or “all” brings them back until delay_delete is over", o.home)
		if stamp == 0 {
			err = hint(errors.New("nothing was put aside by packs, or it is back or gone already"), "dirstorage status --count %s lists the files put aside by packs; they can be brought back until delay_delete is over", o.home)
		}
		if o.json {
			return errors.Join(err, e.printJSON(r))
		}
		return err
	}
	return o.sayBroughtBack(e, r)
}

func (o *packCommand) sayBroughtBack(e *env, r zodb.UndeleteResult) error {
	if o.json {
		return e.printJSON(r)
	}
	w := e.printer()
	w.printf("brought back %s, %s, %s, %s\n", human.Number(r.Objects, "object"), human.Number(r.Revisions, "revision"), human.Number(r.Transactions, "transaction"), human.Number(r.Blobs, "blob"))
	if r.Skipped > 0 {
		w.printf("%s aside, because there are others of their names\n", human.Plural(r.Skipped, "file stays", "files stay"))
	}
	if r.NoBlob > 0 {
		w.printf("%s removed for good, because their blobs are missing: backups do not have the blobs that a pack has put aside\n", human.Plural(r.NoBlob, "revision stays", "revisions stay"))
	}
	return w.err
}
