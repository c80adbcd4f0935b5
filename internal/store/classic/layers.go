package classic

import (
	"fmt"

	"github.com/dirstorage/dirstorage/internal/layout"
	"github.com/dirstorage/dirstorage/internal/oidset"
	"github.com/dirstorage/dirstorage/internal/store"
)

// layersMemory in bytes limits the set of oids that [layers] has seen.
const layersMemory = 256 << 20

// layers are copies that lie over each other. A file that is written once is in one of them
// only; of a replaced one the newest counts.
type layers struct {
	c       Copies
	objects *oidset.Set          // of which the file was seen that says which revision is current
	marks   map[layout.Name]bool // that were seen
}

// Layers implements [store.Copies].
func (c Copies) Layers() store.Layers {
	return &layers{c: c, objects: oidset.New(layersMemory), marks: make(map[layout.Name]bool)}
}

// Take implements [store.Layers].
func (l *layers) Take(path string) (bool, error) {
	d := l.c.Describe(path)
	switch {
	case d.Replaced && d.Name.Kind == layout.KindObject:
		room, fresh := l.objects.Add(d.Name.OID)
		if !room {
			return false, fmt.Errorf("%w: the set of them takes more than %d MiB", store.ErrLayers, layersMemory>>20)
		}
		return fresh, nil
	case d.Replaced:
		fresh := !l.marks[d.Name]
		l.marks[d.Name] = true
		return fresh, nil
	}
	return true, nil
}
